//go:build !asan

package pprof

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"magellan/cgo/jemalloc/heapprof"
	"magellan/cgo/jemalloc/internal/stitchtest"
)

// A callback from C to Go goes through a wrapper that the compiler made for the
// runtime's function of the same name.
func TestCallbackIsShownWithoutWrapper(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	for _, onThread := range []bool{false, true} { // two stacks, of one suspect
		stitchtest.Plan{OnThread: onThread, Steps: []stitchtest.Step{{}, {}}}.Run(16 * mib) // so large that it is sampled
	}
	_, heap, err := r.takeNow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := heapprof.WriteStacks(&text, r.profileOf(t.Context(), heap), heapprof.TopOptions{Type: "alloc_space"}); err != nil {
		t.Fatal(err)
	}
	var growth []heapprof.Growth
	for _, s := range heap.Stacks {
		growth = append(growth, heapprof.Growth{PCs: s.PCs})
	}
	var pcs []uint64
	for _, g := range growth {
		pcs = append(pcs, g.PCs...)
	}
	if err := heapprof.WriteGrowth(&text, growth, r.symbolize(heap.Mappings, pcs)); err != nil {
		t.Fatal(err)
	}
	// As the ranking has it, where each stack counts as a function once.
	for i := range 24 {
		d := *heap
		d.Stacks = slices.Clone(heap.Stacks)
		for j := range d.Stacks {
			n := uint64(20 * (i + 1))
			d.Stacks[j].Inuse = heapprof.Count{Objects: n, Bytes: n << 10}
		}
		rankAs(t, r, i, &d)
	}
	text.Write(fetch(t, serve(t, r).URL+"/debug/jeprof/leaks?format=text", 200))
	if strings.Contains(text.String(), "times)") {
		t.Errorf("the callback is not recursive:\n%s", &text)
	}
	const name = "    runtime.cgocallbackg "
	before := ""
	seen := 0
	for line := range strings.Lines(text.String()) {
		if strings.HasPrefix(line, name) {
			seen++
			if strings.HasPrefix(before, name) {
				t.Errorf("twice in a row: %q and %q", before, line)
			}
		}
		before = line
	}
	if seen != 7 || !strings.Contains(text.String(), ", on 2 stacks") {
		t.Errorf("seen %d times, want three in the profile, three in the stacks (the thread's own call is one) and one in the suspect:\n%s", seen, &text)
	}
}
