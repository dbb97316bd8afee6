//go:build !asan

package pprof

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc/heapprof"
	"magellan/cgo/jemalloc/internal/leaktest"
)

// tool runs another program; without it the test fails on CI and is skipped elsewhere.
func tool(t *testing.T, install string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing: install %s", args[0], install)
		}
		t.Skipf("%s is missing: install %s", args[0], install)
	}
	cmd := exec.Command(args[0], args[1:]...)
	dir := t.TempDir()
	cmd.Env = append(os.Environ(), "PPROF_TMPDIR="+dir, "JEPROF_TMPDIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// A new version is installed while the old one runs.
func TestReplacedProgram(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "replaced")
	text, err := os.ReadFile(withSymbols(t))
	if err == nil {
		err = os.WriteFile(binary, text, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, _, url, _ := program(t, binary, "server")
	if err := os.Rename(binary, binary+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(binary + ".old"); err != nil {
		t.Fatal(err)
	}
	shown := string(fetch(t, url+"/debug/pprof/native?debug=1", 200))
	if !strings.Contains(shown, "leaktest_new_record leaktest.c:8") || strings.Contains(shown, "deleted") {
		t.Errorf("%s", shown)
	}
}

// The tools people have, against a program as they would write it, with its symbol
// table: C and Go functions by name, C ones with their lines.
func TestToolsAgainstARunningProgram(t *testing.T) {
	dir, last := t.TempDir(), t.TempDir()+"/last.heap"
	cmd, stdin, url, rest := program(t, withSymbols(t), "server", "PPROF_TEST_DIR="+dir, "PPROF_TEST_EXIT="+last)

	// The leaf is malloc, by whichever name the linked jemalloc has for it.
	t.Run("go tool pprof -top", func(t *testing.T) {
		out := tool(t, "Go", "go", "tool", "pprof", "-top", url+"/debug/pprof/native")
		for _, want := range []string{`Type: inuse_space`, `6\d(\.\d+)?MB +[\d.]+% +leaktest_new_record`, `leaktest\.Leak`, `pprof\.runServer`, `runtime\.cgocall`} {
			if !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		if regexp.MustCompile(`prof_backtrace|prof_alloc_prep`).MatchString(out) {
			t.Errorf("the profiler shows itself:\n%s", out)
		}
	})
	t.Run("go tool pprof -raw", func(t *testing.T) {
		out := tool(t, "Go", "go", "tool", "pprof", "-raw", url+"/debug/pprof/native")
		for _, want := range []string{"alloc_objects/count", "inuse_space/bytes", "leaktest_new_record .*leaktest.c:8", "stacks: c\\+go"} {
			if !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
	})
	t.Run("go tool pprof of a delta", func(t *testing.T) {
		out := tool(t, "Go", "go", "tool", "pprof", "-top", "-seconds", "1", url+"/debug/pprof/native")
		if strings.Contains(out, "leaktest_new_record") || !strings.Contains(out, "Duration: 1") {
			t.Errorf("nothing leaked in that second:\n%s", out)
		}
	})
	t.Run("go tool pprof of jeprof's address", func(t *testing.T) {
		// Its own error is "unrecognized profile format".
		out, err := exec.Command("go", "tool", "pprof", "-top", url+"/debug/jeprof/pprof/heap").CombinedOutput()
		want := "go tool pprof reads " + url + "/debug/pprof/native"
		if err == nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "unrecognized") {
			t.Errorf("%v, want %q in\n%s", err, want, out)
		}
	})
	t.Run("jeprof", func(t *testing.T) {
		out := tool(t, "libjemalloc-dev", "jeprof", "--text", "--cum", url+"/debug/jeprof/pprof/heap")
		for _, want := range []string{`Total: 6\d\.\d MB`, `64\.\d +[\d.]+% leaktest_new_record`, `leaktest\.Leak`, `pprof\.runServer`} {
			if !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
	})
	t.Run("jeprof leaves the allocator out", func(t *testing.T) {
		out := tool(t, "libjemalloc-dev", "jeprof", "--text", url+"/debug/jeprof/pprof/heap")
		if !regexp.MustCompile(`Total: .*\n +6\d\.\d +[\d.]+% +[\d.]+% +6\d\.\d +[\d.]+% leaktest_new_record`).MatchString(out) {
			t.Errorf("leaktest_new_record is not first in\n%s", out)
		}
	})
	t.Run("jeprof --raw", func(t *testing.T) {
		out := tool(t, "libjemalloc-dev", "jeprof", "--raw", url+"/debug/jeprof/pprof/heap")
		if !strings.Contains(out, "--- symbol") || !strings.Contains(out, "binary=") || !strings.Contains(out, "leaktest_leak") {
			t.Errorf("%s", out[:min(len(out), 2000)])
		}
	})
	t.Run("user interface", func(t *testing.T) {
		resp, body := request(t, http.MethodPost, url+"/debug/jeprof/dump", "")
		if resp.StatusCode != 201 {
			t.Fatalf("%s", body)
		}
		view := url + "/debug/jeprof/ui/" + fromJSON[Dump](t, body).ID
		for page, want := range map[string]string{
			"/":                             "leaktest_new_record", // leads to the flame graph
			"/top":                          "leaktest_new_record",
			"/peek?f=leaktest_leak":         "leaktest_new_record",
			"/source?f=leaktest_new_record": "malloc(size",
			"/graph":                        "<svg",
			"/top?si=alloc_objects":         "alloc_objects",
		} {
			code := 200
			if page == "/graph" {
				if _, err := exec.LookPath("dot"); err != nil {
					code, want = 501, "graphviz"
				}
			}
			if body := fetch(t, view+page, code); !bytes.Contains(body, []byte(want)) {
				t.Errorf("%s: no %q", page, want)
			}
		}
	})
	t.Run("exit", func(t *testing.T) {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, rest())
		}
		if out := rest(); !strings.Contains(out, "<jemalloc>: Leak approximation summary: ~6") || !strings.Contains(out, "<jemalloc>: Run jeprof") {
			t.Errorf("%s", out)
		}
		f, err := os.Open(last)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := heapprof.Parse(f, heapprof.Limits{}); err != nil {
			t.Error(err)
		}
		// What that process kept is read by the next, symbols included.
		cfg := quiet(t)
		cfg.Dir = dir
		r := newTestRecorder(t, cfg)
		final := ofReason(r, Final)
		if len(final) != 1 || final[0].PID != cmd.Process.Pid || final[0].Grown != nil || !strings.HasPrefix(final[0].HoldsMost.String(), "leaktest_new_record leaktest.c:8") {
			t.Fatalf("%+v", r.Dumps())
		}
		s := serve(t, r)
		if body := fetch(t, s.URL+"/debug/jeprof/dumps/"+final[0].ID+"?format=text", 200); !bytes.Contains(body, []byte("pprof.runServer")) {
			t.Errorf("%s", body)
		}
	})
}

func TestViews(t *testing.T) {
	cfg := quiet(t)
	cfg.MaxViews = 2
	r := newTestRecorder(t, cfg)
	var ids []string
	for range 3 {
		defer leaktest.Leak(8, 4*mib).Free()
		ids = append(ids, take(t, r).ID)
	}
	s := serve(t, r)
	base := s.URL + "/debug/jeprof/ui/"
	page := fetch(t, base, 200)
	for _, id := range ids {
		if !bytes.Contains(page, []byte(`href="`+id+`/"`)) {
			t.Errorf("the page of all dumps does not lead to %s", id)
		}
	}
	// More than may be open, several times, at once.
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			path := ids[i%3] + "/top"
			if i%4 == 3 {
				path = ids[0] + ".." + ids[2] + "/top"
			}
			resp, err := http.Get(base + path)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("%s: %s", path, resp.Status)
			}
		})
	}
	all.Wait()
	r.views.mu.Lock()
	if n := len(r.views.open); n > 2 || r.views.used.Len() != n {
		t.Errorf("%d views are open", n)
	}
	r.views.mu.Unlock()
	resp, _ := request(t, http.MethodGet, base+"diff?from="+ids[0]+"&to="+ids[1], "")
	if want := "/debug/jeprof/ui/" + ids[0] + ".." + ids[1] + "/flamegraph"; resp.StatusCode != 200 || resp.Request.URL.Path != want {
		t.Errorf("the form leads to %s %s", resp.Status, resp.Request.URL)
	}
	if !regexp.MustCompile(`>\d+\.\dMiB<`).Match(page) {
		t.Errorf("sizes are not for people: %s", page)
	}
	// The button leads back to the page.
	q, err := http.NewRequest(http.MethodPost, s.URL+"/debug/jeprof/dump", nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	if resp, err = http.DefaultClient.Do(q); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || resp.Request.URL.String() != base || len(r.Dumps()) != 4 {
		t.Errorf("the button leads to %s %s, and %d dumps are kept", resp.Status, resp.Request.URL, len(r.Dumps()))
	}
}

// Of two dumps that hold the same there is a page that says so, on each of the views,
// and what there is of other types is a link away. The driver's own page is white.
func TestViewOfEqualDumps(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	from := take(t, r)
	leaktest.Leak(4, 16*mib).Free()
	to := take(t, r)
	s := serve(t, r)
	base := s.URL + "/debug/jeprof/ui/"
	for _, page := range []string{"", "flamegraph", "top", "graph", "peek?f=malloc", "source?f=malloc", "top?si=inuse_objects"} {
		for _, ids := range []string{from.ID + ".." + from.ID, from.ID + ".." + to.ID} {
			body := string(fetch(t, base+ids+"/"+page, 200))
			if !strings.Contains(body, "<h1>Nothing changed</h1>") || strings.Contains(body, "NaN") || strings.Contains(body, "stackViewer") {
				t.Errorf("%s/%s: %s", ids, page, body)
			}
			if same := ids == from.ID+".."+from.ID; strings.Contains(body, `<a href="?si=alloc_space">`) == same {
				t.Errorf("%s/%s: a link to what was allocated and freed again: %v\n%s", ids, page, !same, body)
			}
		}
	}
	if body := string(fetch(t, base+from.ID+".."+to.ID+"/top?si=alloc_space", 200)); !strings.Contains(body, "leaktest.Leak") {
		t.Errorf("what was allocated: %s", body)
	}
	if p, err := profile.ParseData(fetch(t, base+from.ID+".."+from.ID+"/download", 200)); err != nil || len(p.Sample) != 0 {
		t.Errorf("the profile itself: %v, %v", p, err)
	}
	text := string(fetch(t, s.URL+"/debug/jeprof/diff?format=text&from="+from.ID+"&to="+from.ID, 200))
	if !strings.Contains(text, "# nothing changed between the two") {
		t.Errorf("%s", text)
	}
}

// A dump without a live sample has a page that says why.
func TestViewOfAnEmptyDump(t *testing.T) {
	if !inProcess(t, "lg_prof_sample:40") {
		return
	}
	r := newTestRecorder(t, quiet(t))
	d := take(t, r)
	body := string(fetch(t, serve(t, r).URL+"/debug/jeprof/ui/"+d.ID+"/", 200))
	if !strings.Contains(body, "<h1>Nothing to show</h1>") || !strings.Contains(body, "the profile is empty: no sample is live") {
		t.Errorf("%s", body)
	}
}

// jemalloc's format goes to all but go tool pprof, which cannot read it.
func TestRemoteHeapAndGoTool(t *testing.T) {
	s := serve(t, newTestRecorder(t, quiet(t)))
	for agent, want := range map[string]int{
		"curl/7.88.1": 200, "Wget/1.21.3": 200, "Mozilla/5.0 (X11; Linux x86_64)": 200, "": 200, "my-own-program": 200,
		"Go-http-client/1.1": 406, "Go-http-client/2.0": 406,
	} {
		q, err := http.NewRequest(http.MethodGet, s.URL+"/debug/jeprof/pprof/heap", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("User-Agent", agent)
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != want {
			t.Errorf("%q: %s, %v", agent, resp.Status, err)
		}
		if want == 200 != bytes.HasPrefix(body, []byte("heap_v2/")) || want == 406 != (resp.Header.Get("X-Go-Pprof") == "1") {
			t.Errorf("%q: %v %.200s", agent, resp.Header, body)
		}
	}
}

func TestGraphsAreSmall(t *testing.T) {
	for query, want := range map[string]string{
		"": "", "n=20&si=alloc_space": "n=20&si=alloc_space", "n=100000": "n=500", "n=0": "n=500", "n=-1": "n=-1", "trim=f": "", "n=x": "n=x",
	} {
		if got := smallGraph(httptest.NewRequest(http.MethodGet, "/graph?"+query, nil)).URL.RawQuery; got != want {
			t.Errorf("%q becomes %q, want %q", query, got, want)
		}
	}
}

func TestViewsWithoutHome(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	d := take(t, r)
	t.Setenv("HOME", "")
	t.Setenv("XDG_CONFIG_HOME", "")
	s := serve(t, r)
	if body := fetch(t, s.URL+"/debug/jeprof/ui/"+d.ID+"/top", 503); !bytes.Contains(body, []byte("HOME")) {
		t.Errorf("%s", body)
	}
}

func TestRemoteSymbol(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	defer leaktest.Leak(8, 4*mib).Free()
	s := serve(t, r)
	url := s.URL + "/debug/jeprof/pprof/"
	if body := fetch(t, url+"symbol", 200); string(body) != "num_symbols: 1\n" {
		t.Errorf("%q", body)
	}
	// Before any dump was taken, and after.
	for range 2 {
		_, heap, err := r.takeNow(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		r.maps = nil
		r.mu.Unlock()
		asked, want := []string{"0x1", "nonsense", ""}, 0
		for _, pc := range heap.PCs() {
			asked = append(asked, "0x"+strings.TrimLeft(hex(pc-1), "0"))
			want++
		}
		resp, body := request(t, http.MethodPost, url+"symbol", strings.Join(asked, "+"))
		lines := strings.Split(strings.TrimSpace(string(body)), "\n")
		if resp.StatusCode != 200 || len(lines) < want {
			t.Errorf("%s: %d lines for %d addresses", resp.Status, len(lines), want)
		}
		if !strings.Contains(string(body), "leaktest.Leak\n") {
			t.Errorf("%s", body)
		}
	}
	if resp, _ := request(t, http.MethodPost, url+"symbol", strings.Repeat("0x1+", maxAddresses/4+1)); resp.StatusCode != 400 {
		t.Errorf("too many addresses: %s", resp.Status)
	}
	if body := fetch(t, url+"cmdline", 200); string(body) != strings.Join(os.Args, "\x00") {
		t.Errorf("%q", body)
	}
}

func hex(v uint64) string {
	const digits = "0123456789abcdef"
	var b []byte
	for ; v > 0; v /= 16 {
		b = append([]byte{digits[v%16]}, b...)
	}
	return string(b)
}

func TestPrefix(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	for prefix, path := range map[string]string{"": "/dumps", "/": "/dumps", "/a/b": "/a/b/dumps", "a/b/": "/a/b/dumps"} {
		w := httptest.NewRecorder()
		r.Handler(prefix).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != 200 {
			t.Errorf("mounted at %q, %s: %d", prefix, path, w.Code)
		}
	}
	w := httptest.NewRecorder()
	r.Handler("/a").ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/b/dumps", nil))
	if w.Code != 404 || !strings.Contains(w.Body.String(), "mounted at /a") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
