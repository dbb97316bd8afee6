//go:build !asan

package pprof

import (
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"magellan/cgo/jemalloc/heapprof"
	"magellan/cgo/jemalloc/internal/leaktest"
)

// Real dumps of a process that leaks, taken at once and said to be 15 seconds
// apart: six minutes of a leak of 16 MB a minute beside memory that comes and goes.
func TestLeaks(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	s := serve(t, r)
	url := s.URL + "/debug/jeprof/leaks"
	if none := fromJSON[leaks](t, fetch(t, url, 200)); none.Suspects != 0 || none.Stacks == nil || none.Note == "" {
		t.Errorf("before any sample: %+v", none)
	}
	defer leaktest.Untouched(64 * mib).Free() // held, and no leak
	start := time.Now()
	for i := range 24 {
		block := leaktest.Leak(4000, 1000)
		defer block.Free()
		leaktest.Leak(4000, 1000).Free()
		_, heap, err := r.takeNow()
		if err != nil {
			t.Fatal(err)
		}
		heap.Time = start.Add(time.Duration(i) * 15 * time.Second)
		if err := r.rank(heap); err != nil {
			t.Fatal(err)
		}
	}
	found := fromJSON[leaks](t, fetch(t, url, 200))
	if found.Suspects != 1 || len(found.Stacks) != 1 || found.Samples != 24 || found.SpanSeconds != 345 {
		t.Fatalf("%+v", found)
	}
	top := found.Stacks[0]
	// 24 blocks of 1 KiB objects are 98 MB, of which one in 512 KiB is sampled: 188
	// samples, with a standard error of 7.3 %. Six of them are once in 500 million.
	const bytesPerHour, objects, off = 4000 * 1024 * 3600 / 15, 24 * 4000, 6 * 0.073
	within := func(got, want float64) bool { return math.Abs(got-want) <= off*want }
	if top.Verdict != heapprof.Suspect || !within(top.BytesPerHour, bytesPerHour) || !within(top.LiveObjects, objects) || top.Confidence < 0.99 ||
		top.BytesPerHourError < 0.05*bytesPerHour || top.BytesPerHourError > 0.12*bytesPerHour ||
		top.FirstSeen.IsZero() || !top.LastSeen.After(top.FirstSeen) || top.Ways < 1 {
		t.Errorf("%+v", top)
	}
	named := false
	for _, f := range top.Stack {
		named = named || strings.HasSuffix(f.Function, "leaktest.Leak") && strings.HasSuffix(f.File, "leaktest.go") && f.Line > 0
	}
	if !named || strings.Contains(top.Stack[0].Function, "libjemalloc") {
		t.Errorf("the stack is %+v", top.Stack)
	}
	if all := fromJSON[leaks](t, fetch(t, url+"?all=1", 200)); len(all.Stacks) < 2 || all.Stacks[0].Verdict != heapprof.Suspect || all.Stacks[1].Verdict == heapprof.Suspect {
		t.Errorf("all: %+v", all)
	}
	text := string(fetch(t, url+"?format=text", 200))
	for _, want := range []string{"1 suspects in 24 samples over 5m45s", "suspect: ", "leaktest.Leak leaktest.go:"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
}

// A process in which nothing is sampled, and one whose sample rate is changed.
func TestRankingOfOddSamples(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	at := time.Now()
	stack := []heapprof.Stack{{PCs: []uint64{1, 2}, Inuse: heapprof.Count{Objects: 1, Bytes: 1 << 20}}}
	for i, d := range []heapprof.Dump{{Rate: 1 << 19}, {Rate: 1 << 19, Stacks: stack}, {Rate: 1 << 19}, {Rate: 1 << 17, Stacks: stack}} {
		d.Time = at.Add(time.Duration(i) * time.Minute)
		if err := r.rank(&d); err != nil {
			t.Fatal(err)
		}
		k := r.ranking()
		if want := []int{1, 2, 3, 1}[i]; k.samples != want || len(k.stacks) != len(d.Stacks) || k.suspects() != 0 {
			t.Errorf("sample %d: %+v", i, k)
		}
	}
}

// Whoever reads debug information lets the garbage collector run after it: once for
// all addresses of a sample, not once for each.
func TestRankingNamesAllAddressesAtOnce(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	for _, leak := range []func(n, size int) leaktest.Block{
		func(n, size int) leaktest.Block { return leaktest.Leak(n, size) },
		func(n, size int) leaktest.Block { return leaktest.Leak(n, size) },
	} {
		defer leak(4, 16*mib).Free()
	}
	_, heap, err := r.takeNow()
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := r.rank(heap); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.NumForcedGC - before.NumForcedGC; n != 1 {
		t.Errorf("debug information was read %d times", n)
	}
	named := 0
	for _, in := range r.allocator {
		if in {
			named++
		}
	}
	if named == 0 || named == len(r.allocator) {
		t.Errorf("%d of %d addresses lie in malloc", named, len(r.allocator))
	}
}
