//go:build !asan

package pprof

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc/internal/leaktest"
)

// leakHandler is the function that one looks for: the compiler inlines what stands
// between it and the call of C.
//
//go:noinline
func leakHandler(n int) leaktest.Block { return leakOuter(n) }

func leakOuter(n int) leaktest.Block { return leakInner(n) }

func leakInner(n int) leaktest.Block { return leaktest.Leak(n, 16*mib) }

// Every output shows the functions that were inlined and the one that they are in.
func TestEveryOutputShowsInlinedCallers(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	s := serve(t, r)
	for i := range 24 {
		defer leakHandler(4).Free()
		sample(t, r, i)
	}
	first := take(t, r)
	defer leakHandler(8).Free()
	second := take(t, r)

	chain := func(between string) *regexp.Regexp {
		return regexp.MustCompile("leakInner" + between + "leakOuter" + between + "leakHandler")
	}
	const path = `[\w./]*` // of a function's package
	lines := chain(`( inline_test\.go:\d+)?\n\s*` + path)
	kept, diff := "/debug/jeprof/dumps/"+second.ID, "/debug/jeprof/diff?from="+first.ID+"&to="+second.ID
	for url, want := range map[string]*regexp.Regexp{
		"/debug/pprof/native?debug=1":     lines,
		kept + "?format=text":             lines,
		diff + "&format=text":             lines,
		"/debug/jeprof/leaks?format=text": lines,
		"/debug/jeprof/leaks":             chain(`"[^{]*\{[^{]*` + path),
		kept:                              chain(` inline_test\.go:\d+",\s*"` + path),
		kept + "?format=collapsed":        regexp.MustCompile("leakHandler;" + path + "leakOuter;" + path + "leakInner;"),
	} {
		if body := fetch(t, s.URL+url, 200); !want.Match(body) {
			t.Errorf("%s shows no leakInner < leakOuter < leakHandler:\n%s", url, body[:min(len(body), 4000)])
		}
	}
	for _, url := range []string{"/debug/pprof/native", kept + "?format=pprof", diff + "&format=pprof"} {
		p, err := profile.ParseData(fetch(t, s.URL+url, 200))
		if err != nil {
			t.Fatal(err)
		}
		if !lines.MatchString(written(p)) {
			t.Errorf("%s shows no leakInner < leakOuter < leakHandler:\n%s", url, written(p))
		}
	}
	if second.HoldsMost == nil || !chain(` inline_test\.go:\d+ < `+path).MatchString(second.HoldsMost.String()) {
		t.Errorf("what holds most: %v", second.HoldsMost)
	}
	p, err := profile.ParseData(fetch(t, s.URL+"/debug/pprof/native", 200))
	if err != nil {
		t.Fatal(err)
	}
	// jeprof has the inlined functions behind the one that they are in.
	var addresses []string
	for _, l := range p.Location {
		addresses = append(addresses, fmt.Sprintf("%#x", l.Address))
	}
	_, named := request(t, http.MethodPost, s.URL+"/debug/jeprof/pprof/symbol", strings.Join(addresses, "+"))
	if !regexp.MustCompile("leakHandler--" + path + "leakOuter--" + path + "leakInner\n").Match(named) {
		t.Errorf("jeprof is told\n%s", named)
	}
}

// written is the stacks of a profile, a frame a line.
func written(p *profile.Profile) string {
	var b bytes.Buffer
	for _, s := range p.Sample {
		for _, l := range s.Location {
			for _, line := range l.Line {
				fmt.Fprintf(&b, "%s\n", line.Function.Name)
			}
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}
