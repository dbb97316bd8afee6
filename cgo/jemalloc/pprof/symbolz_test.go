//go:build !asan

package pprof

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/pprof"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// go tool pprof reads what it gets from a URL, whether or not something beside it
// answers questions for names; and where something does, what has no name is left
// without, so that others name it later.
func TestLocationsWithoutNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stripped.so")
	plugin(t, path, "leak_stripped", "inner", newPlace())
	tool(t, "binutils", "strip", path)
	lib, _ := leakIn(t, path, "leak_stripped")
	defer lib.Close()
	r := newTestRecorder(t, quiet(t))
	cfg := quiet(t)
	cfg.SymbolServed = true
	told := newTestRecorder(t, cfg)

	mux := func(r *Recorder, symbol ...string) *http.ServeMux {
		m := http.NewServeMux()
		m.Handle("/debug/pprof/native", r.Native())
		m.Handle("/debug/jeprof/", r.Handler("/debug/jeprof"))
		m.Handle("/{$}", http.NotFoundHandler())
		for _, pattern := range symbol {
			m.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "num_symbols: 1") })
		}
		return m
	}
	index := mux(r)
	index.HandleFunc("/debug/pprof/", pprof.Index)
	wrapped := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { h.ServeHTTP(w, q) })
	}
	for name, c := range map[string]struct {
		handler http.Handler
		bare    bool // locations without a name have no lines
	}{
		"alone":                        {mux(r), false},
		"beside pprof.Index":           {index, false}, // which knows profiles only
		"beside net/http/pprof":        {mux(r, "/debug/pprof/symbol"), true},
		"of one method":                {mux(r, "POST /debug/pprof/symbol"), true},
		"of one host":                  {mux(r, "127.0.0.1/debug/pprof/symbol"), true},
		"of another method":            {mux(r, "PUT /debug/pprof/symbol"), false},
		"a page for all other paths":   {mux(r, "/"), false},
		"behind a middleware":          {wrapped(mux(r, "/debug/pprof/symbol")), false},
		"behind a middleware, said so": {wrapped(mux(told, "/debug/pprof/symbol")), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(c.handler)
			defer s.Close()
			url := s.URL + "/debug/pprof/native"
			p, err := profile.ParseData(fetch(t, url, 200))
			if err != nil {
				t.Fatal(err)
			}
			bare, placed := 0, 0
			for _, l := range p.Location {
				switch {
				case len(l.Line) == 0:
					bare++
				case strings.HasPrefix(l.Line[0].Function.Name, "stripped.so+0x"):
					placed++
				default:
					continue
				}
				if l.Mapping.HasFunctions {
					t.Errorf("%#x has no name, and its mapping claims that all have one", l.Address)
				}
			}
			if c.bare && (bare == 0 || placed != 0) || !c.bare && (bare != 0 || placed == 0) {
				t.Errorf("%d locations have no lines, %d are named by their places", bare, placed)
			}
			if out := tool(t, "Go", "go", "tool", "pprof", "-top", url); !strings.Contains(out, "leaktest.Library.Leak") {
				t.Errorf("go tool pprof %s:\n%s", url, out)
			}
		})
	}

	// Those that are kept have no lines either, and pprof gets an answer.
	s := serve(t, r)
	first, second := take(t, r), take(t, r)
	for _, path := range []string{"/debug/jeprof/dumps/" + first.ID + "?format=pprof", "/debug/jeprof/diff?from=" + first.ID + "&to=" + second.ID} {
		if out := tool(t, "Go", "go", "tool", "pprof", "-top", s.URL+path); !strings.Contains(out, "Type: inuse_space") {
			t.Errorf("go tool pprof %s:\n%s", path, out)
		}
	}
	if text := fetch(t, s.URL+"/debug/pprof/native?debug=1", 200); !strings.Contains(string(text), "stripped.so+0x") {
		t.Errorf("the text says nothing of what has no name:\n%s", text)
	}
}

// A profile of a stripped program gets the names of its C functions when the program
// with its symbols is there, and its Go functions, which the runtime has named, keep
// theirs.
func TestStrippedProgramIsNamedLater(t *testing.T) {
	full, dir := withSymbols(t), t.TempDir()
	binary, path := filepath.Join(dir, "program"), filepath.Join(dir, "heap.pb.gz")
	tool(t, "binutils", "strip", "-o", binary, full)
	_, _, url, _ := program(t, binary, "server")
	if err := os.WriteFile(path, fetch(t, url+"/debug/pprof/native", 200), 0o600); err != nil {
		t.Fatal(err)
	}
	frames := func() map[string]bool {
		all := make(map[string]bool)
		out := tool(t, "Go", "go", "tool", "pprof", "-top", "-lines", path)
		for _, m := range regexp.MustCompile(`(?m)% +(\S+ \S+:\d+)`).FindAllStringSubmatch(out, -1) {
			all[m[1]] = true
		}
		return all
	}
	before := frames()
	tool(t, "binutils", "objcopy", full, binary+".full")
	if err := os.Rename(binary+".full", binary); err != nil {
		t.Fatal(err)
	}
	after := frames()
	isC := regexp.MustCompile(`^leaktest_new_record .*leaktest\.c:8$`)
	isGo := regexp.MustCompile(`leaktest\.Leak .*leaktest\.go:\d+$`)
	count := func(all map[string]bool, is *regexp.Regexp) (n int) {
		for frame := range all {
			if is.MatchString(frame) {
				n++
			}
		}
		return n
	}
	if count(before, isC) != 0 || count(before, isGo) != 1 || count(after, isC) != 1 {
		t.Errorf("before %v, after %v", before, after)
	}
	for frame := range before {
		if !after[frame] {
			t.Errorf("%s is named otherwise: %v", frame, after)
		}
	}
}
