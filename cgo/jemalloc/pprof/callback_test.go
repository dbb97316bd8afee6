//go:build !asan

package pprof

import (
	"bytes"
	"strings"
	"testing"

	"magellan/cgo/jemalloc/heapprof"
	"magellan/cgo/jemalloc/internal/stitchtest"
)

// A callback from C to Go goes through a wrapper that the compiler made for the
// runtime's function of the same name.
func TestCallbackIsShownWithoutWrapper(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	stitchtest.Plan{Steps: []stitchtest.Step{{}, {}}}.Run(16 * mib) // so large that it is sampled
	_, heap, err := r.takeNow()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := heapprof.WriteStacks(&text, r.profileOf(heap), heapprof.TopOptions{Type: "alloc_space"}); err != nil {
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
	if seen != 2 {
		t.Errorf("seen %d times, want one in each text", seen)
	}
}
