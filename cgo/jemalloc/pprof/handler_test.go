//go:build !asan

package pprof

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/heapprof"
	"magellan/cgo/jemalloc/internal/leaktest"
)

// leaked sums what a profile has of leaktest.Leak, in bytes and objects.
func leaked(p *profile.Profile) (bytes, objects int64) {
	for _, s := range p.Sample {
		for _, l := range s.Location {
			if len(l.Line) > 0 && strings.HasSuffix(l.Line[len(l.Line)-1].Function.Name, "leaktest.Leak") {
				bytes += s.Value[heapprof.InuseSpace]
				objects += s.Value[heapprof.InuseObjects]
				break
			}
		}
	}
	return bytes, objects
}

func TestNative(t *testing.T) {
	s := serve(t, newTestRecorder(t, quiet(t)))
	block := leaktest.Leak(4, 16*mib) // so large that each is sampled
	defer block.Free()
	for _, c := range []struct {
		query, contentType, disposition string
	}{
		{"", "application/octet-stream", `attachment; filename="native"`},
		{"?gc=1", "application/octet-stream", `attachment; filename="native"`},
		{"?seconds=1", "application/octet-stream", `attachment; filename="native-delta"`},
		{"?debug=1", "text/plain; charset=utf-8", ""},
		{"?debug=1&seconds=1", "text/plain; charset=utf-8", ""},
	} {
		resp, body := request(t, http.MethodGet, s.URL+"/debug/pprof/native"+c.query, "")
		h := resp.Header
		if resp.StatusCode != 200 || h.Get("Content-Type") != c.contentType || h.Get("Content-Disposition") != c.disposition || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %s %v", c.query, resp.Status, h)
		}
		if strings.Contains(c.query, "debug") {
			if !bytes.Contains(body, []byte("inuse_space:")) {
				t.Errorf("%s: %s", c.query, body)
			}
			continue
		}
		p, err := profile.ParseData(body)
		if err != nil {
			t.Fatal(err)
		}
		held, objects := leaked(p)
		switch {
		case strings.Contains(c.query, "seconds"):
			if held != 0 || p.DurationNanos < int64(time.Second) {
				t.Errorf("%s: grew by %d bytes in %v", c.query, held, time.Duration(p.DurationNanos))
			}
		case held < 63*mib || held > 81*mib || objects < 4 || objects > 5:
			t.Errorf("%s: %d bytes in %d objects, leaked were 64 MiB in 4", c.query, held, objects)
		}
		if len(p.Mapping) == 0 || p.PeriodType == nil || p.Period == 0 || p.TimeNanos == 0 || p.DropFrames != "" {
			t.Errorf("%s: not all is said: %v", c.query, p)
		}
	}
}

func TestNativeDelta(t *testing.T) {
	before := leaktest.Leak(16, 16*mib)
	defer before.Free()
	during := make(chan leaktest.Block, 1)
	dumps := 0
	cfg := quiet(t)
	cfg.Source = replaced{self{}, func(w io.Writer) error {
		defer func() {
			if dumps++; dumps == 1 {
				during <- leaktest.Leak(8, 16*mib)
			}
		}()
		return jemalloc.Dump(w)
	}}
	s := serve(t, newTestRecorder(t, cfg))
	p, err := profile.ParseData(fetch(t, s.URL+"/debug/pprof/native?seconds=1", 200))
	if err != nil {
		t.Fatal(err)
	}
	(<-during).Free()
	if held, objects := leaked(p); held < 127*mib || held > 161*mib || objects < 8 || objects > 9 {
		t.Errorf("%d bytes in %d objects, leaked meanwhile were 128 MiB in 8", held, objects)
	}
}

func TestNativeRefusals(t *testing.T) {
	cfg := quiet(t)
	cfg.MaxDelta = 5 * time.Second
	r := newTestRecorder(t, cfg)
	s := serve(t, r)
	for _, q := range []string{"seconds=0", "seconds=-1", "seconds=x", "seconds=1.5", "seconds=6", "seconds=99999999999999999999"} {
		resp, body := request(t, http.MethodGet, s.URL+"/debug/pprof/native?"+q, "")
		if resp.StatusCode != 400 || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" || resp.Header.Get("X-Go-Pprof") != "1" || len(body) == 0 {
			t.Errorf("%s: %s %v %s", q, resp.Status, resp.Header, body)
		}
	}
	if resp, _ := request(t, http.MethodPut, s.URL+"/debug/pprof/native", ""); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("PUT: %s %v", resp.Status, resp.Header)
	}
}

// A delta may be longer than the server's write timeout, as with net/http/pprof;
// if a middleware hides the connection, it is refused before it is too late. The time
// between its two profiles does not pass here.
func TestNativeAndWriteTimeout(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	var waited time.Duration
	r.sleep = func(_ context.Context, d time.Duration) error {
		waited = d
		return nil
	}
	const timeout, delta = 50 * time.Second, 51 * time.Second
	for name, c := range map[string]struct {
		wrap   func(http.ResponseWriter, *time.Time) http.ResponseWriter
		want   int
		waited time.Duration
	}{
		"plain": {func(w http.ResponseWriter, deadline *time.Time) http.ResponseWriter { return deadlines{w, deadline} }, 200, delta},
		"hidden": {func(w http.ResponseWriter, _ *time.Time) http.ResponseWriter {
			return struct{ http.ResponseWriter }{hidden{w}}
		}, 400, 0},
	} {
		waited = 0
		var deadline time.Time
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			r.Native().ServeHTTP(c.wrap(w, &deadline), q)
		}))
		s.Config.WriteTimeout = timeout
		s.Start()
		asked := time.Now()
		resp, body := request(t, http.MethodGet, s.URL+"?seconds=51", "")
		s.Close()
		if resp.StatusCode != c.want || waited != c.waited {
			t.Errorf("%s: %s after %v, want %d after %v: %s", name, resp.Status, waited, c.want, c.waited, body)
		}
		if c.want == 200 && deadline.Before(asked.Add(timeout+delta)) {
			t.Errorf("%s: asked at %v, the deadline is %v", name, asked, deadline)
		}
	}
}

// deadlines notes the write deadline that is set.
type deadlines struct {
	http.ResponseWriter
	last *time.Time
}

func (d deadlines) SetWriteDeadline(deadline time.Time) error {
	*d.last = deadline
	return http.NewResponseController(d.ResponseWriter).SetWriteDeadline(deadline)
}

// hidden has no Unwrap.
type hidden struct{ w http.ResponseWriter }

func (h hidden) Header() http.Header         { return h.w.Header() }
func (h hidden) Write(p []byte) (int, error) { return h.w.Write(p) }
func (h hidden) WriteHeader(code int)        { h.w.WriteHeader(code) }

func TestDumps(t *testing.T) {
	cfg := quiet(t)
	cfg.Dir = t.TempDir()
	s := serve(t, newTestRecorder(t, cfg))
	base := s.URL + "/debug/jeprof"
	first := leaktest.Leak(8, 16*mib)
	defer first.Free()
	var ids []string
	for i := range 2 {
		if i == 1 {
			second := leaktest.Leak(4, 16*mib)
			defer second.Free()
		}
		resp, body := request(t, http.MethodPost, base+"/dump", "")
		d := fromJSON[Dump](t, body)
		if resp.StatusCode != 201 || resp.Header.Get("Location") != "/debug/jeprof/dumps/"+d.ID || resp.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("%s %v %s", resp.Status, resp.Header, body)
		}
		if got := fromJSON[Dump](t, fetch(t, s.URL+resp.Header.Get("Location"), 200)); got.ID != d.ID {
			t.Errorf("at its Location is %+v", got)
		}
		if d.RSS == 0 || sumOf(d.Ledger)-d.Ledger.NotResident != d.RSS || d.LiveBytes < 128*mib || d.LiveObjects < 8 || d.Stacks == 0 ||
			d.PID != os.Getpid() || d.Reason != Requested || d.Stored != "disk" || !strings.HasPrefix(d.LeakSummary, "<jemalloc>: Leak approximation summary: ~") {
			t.Errorf("%+v", d)
		}
		ids = append(ids, d.ID)
	}
	list := fromJSON[struct{ Dumps []Dump }](t, fetch(t, base+"/dumps", 200))
	if len(list.Dumps) != 2 || list.Dumps[0].ID != ids[0] || list.Dumps[1].ID != ids[1] {
		t.Errorf("%+v", list)
	}

	one := base + "/dumps/" + ids[0]
	if d, err := heapprof.Parse(bytes.NewReader(fetch(t, one+"?format=heap", 200)), heapprof.Limits{}); err != nil || len(d.Stacks) == 0 {
		t.Errorf("heap: %v", err)
	}
	if p, err := profile.ParseData(fetch(t, one+"?format=pprof", 200)); err != nil {
		t.Error(err)
	} else if held, _ := leaked(p); held < 127*mib {
		t.Errorf("pprof: %d bytes", held)
	}
	for format, want := range map[string]string{"text": "leaktest.Leak leaktest.go:", "collapsed": "leaktest.Leak;", "json": `"leak_summary"`} {
		if body := fetch(t, one+"?format="+format, 200); !bytes.Contains(body, []byte(want)) {
			t.Errorf("%s: no %q in %s", format, want, body)
		}
	}

	diff := base + "/diff?from=" + ids[0] + "&to=" + ids[1]
	p, err := profile.ParseData(fetch(t, diff, 200))
	if err != nil {
		t.Fatal(err)
	}
	if held, objects := leaked(p); held < 63*mib || held > 81*mib || objects < 4 || objects > 5 {
		t.Errorf("diff: %d bytes in %d objects, leaked in between were 64 MiB in 4", held, objects)
	}
	if body := fetch(t, diff+"&format=text", 200); !bytes.Contains(body, []byte("leaktest.Leak leaktest.go:")) {
		t.Errorf("%s", body)
	}
}

func TestRefusals(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	d := take(t, r)
	s := serve(t, r)
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/dump", "", 405},
		{"DELETE", "/dumps", "", 405},
		{"GET", "/dumps/none", "", 404},
		{"GET", "/dumps/..%2F..%2Fetc%2Fpasswd?format=heap", "", 404},
		{"GET", "/dumps/" + d.ID + "?format=svg", "", 400},
		{"GET", "/dumps/" + d.ID + "?format=collapsed&type=none", "", 400},
		{"GET", "/diff", "", 400},
		{"GET", "/diff?from=" + d.ID, "", 400},
		{"GET", "/diff?from=" + d.ID + "&to=none", "", 404},
		{"GET", "/leaks?all=perhaps", "", 400},
		{"GET", "/leaks?format=xml", "", 400},
		{"PUT", "/active", "", 400},
		{"PUT", "/active", "{}", 400},
		{"PUT", "/active", `{"active":1}`, 400},
		{"PUT", "/active", `{"activ":true}`, 400},
		{"GET", "/nothing", "", 404},
		{"GET", "/ui/none/", "", 404},
		{"GET", "/ui/" + d.ID + "/nothing", "", 404},
		{"GET", "/ui/" + d.ID + "/saveconfig?config=x", "", 403},
		{"GET", "/ui/diff?from=" + d.ID + "&to=none", "", 404},
	} {
		resp, body := request(t, c.method, s.URL+"/debug/jeprof"+c.path, c.body)
		p := fromJSON[struct {
			Title, Detail string
			Status        int
		}](t, body)
		if resp.StatusCode != c.want || p.Status != c.want || p.Title == "" || p.Detail == "" || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %s, want %d: %s", c.method, c.path, resp.Status, c.want, body)
		}
	}
}

func TestActive(t *testing.T) {
	s := serve(t, newTestRecorder(t, quiet(t)))
	url := s.URL + "/debug/jeprof/active"
	defer jemalloc.SetActive(true)
	for _, want := range []string{`{"active":false}`, `{"active":true}`} {
		resp, body := request(t, http.MethodPut, url, want)
		on, err := jemalloc.Active()
		if err != nil || resp.StatusCode != 200 || on != strings.Contains(want, "true") {
			t.Errorf("PUT %s: %s %s, active %v, %v", want, resp.Status, body, on, err)
		}
		if got := strings.Join(strings.Fields(string(fetch(t, url, 200))), ""); got != want {
			t.Errorf("GET after PUT %s: %s", want, got)
		}
		// What stands still says why.
		for _, path := range []string{"/debug/pprof/native?debug=1", "/debug/jeprof/leaks", "/debug/jeprof/leaks?format=text"} {
			if said := bytes.Contains(fetch(t, s.URL+path, 200), []byte("sampling is off")); said == on {
				t.Errorf("active %v, and GET %s says that sampling is off: %v", on, path, said)
			}
		}
	}
}

// 50 clients at once: those who POST share dumps, of the others some wait and some
// are told to come back. None fails, and never are two dumps under way.
func TestFiftyAtOnce(t *testing.T) {
	var mu sync.Mutex
	under, most, taken := 0, 0, 0
	cfg := quiet(t)
	cfg.Source = replaced{self{}, func(w io.Writer) error {
		mu.Lock()
		under++
		taken++
		most = max(most, under)
		mu.Unlock()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			under--
		}()
		return jemalloc.Dump(w)
	}}
	r := newTestRecorder(t, cfg)
	s := serve(t, r)
	var all sync.WaitGroup
	var codes [2]sync.Map
	ids := sync.Map{}
	for range 50 {
		all.Go(func() {
			resp, err := http.Post(s.URL+"/debug/jeprof/dump", "", nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			ids.Store(resp.Header.Get("Location"), true)
			codes[0].Store(resp.StatusCode, true)
		})
		all.Go(func() {
			resp, err := http.Get(s.URL + "/debug/pprof/native")
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if resp.StatusCode == 429 && resp.Header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
			codes[1].Store(resp.StatusCode, true)
		})
	}
	all.Wait()
	codes[0].Range(func(code, _ any) bool {
		if code != 201 && code != 429 {
			t.Errorf("POST dump: %v", code)
		}
		return true
	})
	codes[1].Range(func(code, _ any) bool {
		if code != 200 && code != 429 {
			t.Errorf("GET native: %v", code)
		}
		return true
	})
	if most != 1 {
		t.Errorf("%d dumps at once", most)
	}
	if n := len(r.Dumps()); n > 25 {
		t.Errorf("50 clients took %d dumps and shared none", n)
	}
	t.Logf("%d dumps for 100 requests, %d of them kept", taken, len(r.Dumps()))
}

// The dump that a request gets began after the request.
func TestSharedDumpIsNotOlder(t *testing.T) {
	var s shared
	begun, finish := make(chan struct{}), make(chan struct{})
	go s.do(t.Context(), func(begins func()) (Dump, error) {
		begins()
		close(begun)
		<-finish
		return Dump{ID: "first"}, nil
	})
	<-begun
	got := make(chan Dump)
	for range 2 {
		go func() {
			d, _ := s.do(t.Context(), func(begins func()) (Dump, error) {
				<-finish
				begins()
				return Dump{ID: "second"}, nil
			})
			got <- d
		}()
	}
	close(finish)
	for range 2 {
		if d := <-got; d.ID != "second" {
			t.Errorf("got the %s dump", d.ID)
		}
	}
}

func TestGateTurnsAway(t *testing.T) {
	g := newGate()
	if err := g.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error)
	for range maxWaiting + 5 {
		go func() { results <- g.enter(ctx) }()
	}
	for range 5 {
		if err := <-results; !errors.Is(err, errBusy) {
			t.Error(err)
		}
	}
	cancel()
	for range maxWaiting {
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	g.leave()
	if err := g.enter(t.Context()); err != nil {
		t.Errorf("when all are gone: %v", err)
	}
}

// What reads whole profiles into memory waits for its turn, what only hands out
// files does not.
func TestConversionsAreGated(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	s := serve(t, r)
	var ids [2]string
	for i := range ids {
		d, err := r.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = d.ID
	}
	if err := r.gate.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer r.gate.leave()
	r.gate.waiting.Add(maxWaiting)
	defer r.gate.waiting.Add(-maxWaiting)
	one, two := "dumps/"+ids[0], "diff?from="+ids[0]+"&to="+ids[1]
	for path, code := range map[string]int{
		one + "?format=text": 429, one + "?format=collapsed": 429, two: 429, two + "&format=text": 429,
		one: 200, one + "?format=heap": 200, one + "?format=pprof": 200,
	} {
		fetch(t, s.URL+"/debug/jeprof/"+path, code)
	}
}

// A program whose debug information is larger than what is read by default can
// have more read; here less is.
func TestDebugInformationIsBounded(t *testing.T) {
	cfg := quiet(t)
	cfg.MaxDebugBytes = 1
	body, err := newTestRecorder(t, cfg).now(t.Context(), false, heapprof.WriteText)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(body), "above the limit of 1 bytes, which MaxDebugBytes sets") {
		t.Errorf("nothing says why there are no lines:\n%.2000s", body)
	}
}

// Everything else works where profiling is off, and says why there is no profile.
func TestProfilingOff(t *testing.T) {
	if os.Getenv("PPROF_TEST_OFF") == "" {
		child := exec.Command(os.Args[0], "-test.run=^TestProfilingOff$", "-test.v")
		child.Env = append(os.Environ(), "PPROF_TEST_OFF=1", "MALLOC_CONF=prof:false,prof_active:false")
		if out, err := child.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestProfilingOff")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	s := serve(t, newTestRecorder(t, Config{PollInterval: time.Millisecond, SampleInterval: time.Millisecond}))
	for _, path := range []string{"/debug/pprof/native", "/debug/jeprof/pprof/heap"} {
		if body := fetch(t, s.URL+path, 503); !bytes.Contains(body, []byte("MALLOC_CONF")) {
			t.Errorf("%s: %s", path, body)
		}
	}
	if resp, body := request(t, "POST", s.URL+"/debug/jeprof/dump", ""); resp.StatusCode != 503 || !bytes.Contains(body, []byte("MALLOC_CONF")) {
		t.Errorf("dump: %s %s", resp.Status, body)
	}
	fetch(t, s.URL+"/debug/memory", 200)
	if body := fetch(t, s.URL+"/debug/jeprof/leaks", 200); !bytes.Contains(body, []byte("MALLOC_CONF")) {
		t.Errorf("leaks: %s", body)
	}
	fetch(t, s.URL+"/debug/jeprof/dumps", 200)
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	cfg := quiet(t)
	cfg.Registerer = registry
	r := newTestRecorder(t, cfg)
	take(t, r)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	sums := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			sums[f.GetName()] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	if sums["native_memory_bytes"]-sums["native_memory_not_resident_bytes"] != sums["native_memory_rss_bytes"] {
		t.Errorf("the parts do not add up: %v", sums)
	}
	if sums["native_heap_dumps_total"] != 1 || sums["native_heap_dumps_kept"] != 1 || sums["native_heap_profiling_active"] != 1 || sums["native_heap_unwinder_info"] != 1 {
		t.Errorf("%v", sums)
	}
	if _, err := New(cfg); err == nil {
		t.Error("two Recorders with one Registerer")
	}
	r.Close()
	if families, err := registry.Gather(); err != nil || len(families) != 0 {
		t.Errorf("after Close: %v, %v", families, err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{MaxDumps: 1}, {MaxDumps: -1}, {MaxBytes: -1}, {MaxMemoryBytes: -1}, {MaxShare: 2}, {MaxShare: -1}, {MaxViews: -1}, {PollInterval: -1}, {MaxDelta: -1}} {
		if r, err := New(c); err == nil {
			r.Close()
			t.Errorf("%+v was accepted", c)
		}
	}
}

func TestExit(t *testing.T) {
	cfg := quiet(t)
	cfg.Dir = t.TempDir()
	r := newTestRecorder(t, cfg)
	var summary bytes.Buffer
	file := t.TempDir() + "/last.heap"
	defer leaktest.Leak(1, 16*mib).Free()
	leaks, err := r.Exit(jemalloc.ExitReport{Summary: &summary, Dump: file})
	if err != nil {
		t.Fatal(err)
	}
	final := ofReason(r, Final)
	if leaks.Bytes < 15*mib || !strings.Contains(summary.String(), "Leak approximation summary") || len(final) != 1 || final[0].ProfileBytes == 0 {
		t.Errorf("%+v\n%s%+v", leaks, &summary, final)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	// Asked for nothing, it does nothing; and one half does not keep the other.
	if leaks, err := r.Exit(jemalloc.ExitReport{}); err != nil || leaks.Bytes != 0 || len(ofReason(r, Final)) != 1 {
		t.Errorf("%+v, %v", leaks, err)
	}
	if _, err := r.Exit(jemalloc.ExitReport{Dump: "/proc/none/last.heap"}); err == nil || len(ofReason(r, Final)) != 2 {
		t.Errorf("a file that cannot be written: %v, %d dumps", err, len(ofReason(r, Final)))
	}
}
