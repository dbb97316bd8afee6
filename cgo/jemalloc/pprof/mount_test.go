//go:build !asan

package pprof

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	_ "net/http/pprof" // registers itself with http.DefaultServeMux
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"magellan/cgo/jemalloc"
)

// patternsOf are the patterns that a file tells people to mount handlers at.
func patternsOf(t *testing.T, file string) (native, handler string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	find := func(method string) string {
		m := regexp.MustCompile(`http\.Handle\("([^"]+)", +rec\.` + method + `\(`).FindSubmatch(text)
		if m == nil {
			t.Fatalf("%s mounts no %s", file, method)
		}
		return string(m[1])
	}
	return find("Native"), find("Handler")
}

// goProfiles is how net/http/pprof, and who mounts it by hand, registers.
var goProfiles = []string{"GET /debug/pprof/", "GET /debug/pprof/cmdline", "GET /debug/pprof/profile", "GET /debug/pprof/symbol", "POST /debug/pprof/symbol", "GET /debug/pprof/trace"}

// What the documentation says is mounted beside Go's own profiles, before and after
// them, and each answers to its paths.
func TestMountedBesideGoProfiles(t *testing.T) {
	rec := newTestRecorder(t, quiet(t))
	for _, file := range []string{"doc.go", "example_test.go"} {
		native, handler := patternsOf(t, file)
		ours := func(mux *http.ServeMux) {
			mux.Handle(native, rec.Native())
			mux.Handle(handler, rec.Handler("/debug/jeprof"))
		}
		theirs := func(patterns ...string) func(*http.ServeMux) {
			return func(mux *http.ServeMux) {
				for _, pattern := range patterns {
					mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Mounted", pattern) })
				}
			}
		}
		for name, mount := range map[string][]func(*http.ServeMux){
			"ours first":       {ours, theirs(goProfiles...)},
			"ours last":        {theirs(goProfiles...), ours},
			"without a method": {theirs("/debug/pprof/", "/debug/pprof/profile", "/"), ours},
		} {
			t.Run(file+": "+name, func(t *testing.T) {
				mux := http.NewServeMux()
				for _, m := range mount {
					m(mux)
				}
				s := httptest.NewServer(mux)
				defer s.Close()
				expectMounted(t, s.URL)
				if resp, _ := request(t, http.MethodGet, s.URL+"/debug/pprof/heap", ""); !strings.HasSuffix(resp.Header.Get("X-Mounted"), "/debug/pprof/") {
					t.Errorf("Go's heap profile is answered by %q", resp.Header.Get("X-Mounted"))
				}
			})
		}
	}
}

func expectMounted(t *testing.T, url string) {
	t.Helper()
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		resp, _ := request(t, method, url+"/debug/pprof/native", "")
		if resp.StatusCode != 200 || resp.Header.Get("Content-Disposition") != `attachment; filename="native"` {
			t.Errorf("%s native: %s %v", method, resp.Status, resp.Header)
		}
	}
	fetch(t, url+"/debug/jeprof/dumps", 200)
	if resp, body := request(t, http.MethodPost, url+"/debug/jeprof/dump", ""); resp.StatusCode != 201 {
		t.Errorf("POST dump: %s %s", resp.Status, body)
	}
}

// On a mux whose own patterns have methods, the handler is mounted once for each of
// the methods that the documentation names.
func TestMountedByMethod(t *testing.T) {
	rec := newTestRecorder(t, quiet(t))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", http.NotFound)
	mux.Handle("GET /debug/pprof/native", rec.Native())
	for _, method := range []string{"GET", "POST", "PUT"} {
		mux.Handle(method+" /debug/jeprof/", rec.Handler("/debug/jeprof"))
	}
	s := httptest.NewServer(mux)
	defer s.Close()
	expectMounted(t, s.URL)
	if resp, body := request(t, http.MethodPut, s.URL+"/debug/jeprof/active", `{"active":true}`); resp.StatusCode != 200 {
		t.Errorf("PUT active: %s %s", resp.Status, body)
	}
}

// Beside the import of net/http/pprof, which comes first, with the patterns of today
// and with those of Go 1.21, which know no methods.
func TestMountedOnTheDefaultMux(t *testing.T) {
	if os.Getenv("PPROF_TEST_MUX") == "" {
		for _, mode := range []string{"", "httpmuxgo121=1"} {
			child := exec.Command(os.Args[0], "-test.run=^TestMountedOnTheDefaultMux$", "-test.v")
			child.Env = append(os.Environ(), "PPROF_TEST_MUX=1", "GODEBUG="+mode)
			if out, err := child.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestMountedOnTheDefaultMux")) {
				t.Errorf("GODEBUG=%s: %v\n%s", mode, err, out)
			}
		}
		return
	}
	rec := newTestRecorder(t, quiet(t))
	native, handler := patternsOf(t, "doc.go")
	if os.Getenv("GODEBUG") != "" {
		native = strings.TrimPrefix(native, "GET ")
	}
	http.Handle(native, rec.Native())
	http.Handle(handler, rec.Handler("/debug/jeprof"))
	s := httptest.NewServer(http.DefaultServeMux)
	defer s.Close()
	expectMounted(t, s.URL)
	if !bytes.Contains(fetch(t, s.URL+"/debug/pprof/", 200), []byte("goroutine")) {
		t.Error("Go's own profiles are gone")
	}
}

// A program whose malloc is another than jemalloc gets no Recorder: its profiles
// would all be empty. Here strdup takes memory that jemalloc does not count for the
// thread, as if it were another malloc's.
func TestNewRefusesAnotherMalloc(t *testing.T) {
	if os.Getenv("LD_PRELOAD") != "" {
		rec, err := New(quiet(t))
		if err == nil {
			rec.Close()
		}
		if !errors.Is(err, jemalloc.ErrNotMalloc) || !strings.Contains(err.Error(), "profiles of native memory would be empty") {
			t.Errorf("New: %v", err)
		}
		return
	}
	dir := t.TempDir()
	source, library := filepath.Join(dir, "other.c"), filepath.Join(dir, "other.so")
	const other = `
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
static void *elsewhere(void *n) { return malloc((size_t)n); }
char *strdup(const char *s) {
	pthread_t thread;
	void *copy;
	size_t n = strlen(s) + 1;
	pthread_create(&thread, NULL, elsewhere, (void *)n);
	pthread_join(thread, &copy);
	return memcpy(copy, s, n);
}
`
	if err := os.WriteFile(source, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "gcc", "cc", "-shared", "-fPIC", "-o", library, source)
	child := exec.Command(os.Args[0], "-test.run=^TestNewRefusesAnotherMalloc$", "-test.v")
	child.Env = append(os.Environ(), "LD_PRELOAD="+library)
	if out, err := child.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestNewRefusesAnotherMalloc")) {
		t.Errorf("%v\n%s", err, out)
	}
}
