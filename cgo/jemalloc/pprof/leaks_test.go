//go:build !asan

package pprof

import (
	"bytes"
	"math"
	"runtime"
	"slices"
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
	for i := range 24 {
		block := leaktest.Leak(4000, 1000)
		defer block.Free()
		leaktest.Leak(4000, 1000).Free()
		sample(t, r, i)
	}
	found := fromJSON[leaks](t, fetch(t, url, 200))
	if found.Suspects != 1 || len(found.Stacks) != 1 || found.Samples != 24 || found.SpanSeconds != 345 {
		t.Fatalf("%+v", found)
	}
	if found.Estimated != "all values are estimates: one allocation in each 512.0KiB is sampled" {
		t.Errorf("estimated: %q", found.Estimated)
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

//go:noinline
func leakFromA(n int) leaktest.Block { return leaktest.Leak(n, 1000) }

//go:noinline
func leakFromB(n int) leaktest.Block { return leaktest.Leak(n, 1000) }

//go:noinline
func leakFromC(n int) leaktest.Block { return leaktest.Leak(n, 1000) }

// One C function that leaks, whoever in Go calls it, is one suspect: by that function,
// with its callers, in JSON and in text.
func TestLeakOfSeveralCallers(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	url := serve(t, r).URL + "/debug/jeprof/leaks"
	for i := range 24 {
		for _, leak := range []func(int) leaktest.Block{leakFromA, leakFromB, leakFromC} {
			defer leak(4000).Free()
		}
		sample(t, r, i)
	}
	found := fromJSON[leaks](t, fetch(t, url, 200))
	if found.Suspects != 1 || found.Stacks[0].Ways != 3 {
		t.Fatalf("%+v", found)
	}
	top := found.Stacks[0]
	ends := func(f frame, what string) bool { return strings.HasSuffix(f.Function, what) }
	// Both ends: up to the Go function that all three call, and from the one that calls them.
	if n := len(top.Stack); n == 0 || !ends(top.Stack[n-1], "leaktest.Leak") || len(top.Callers) == 0 || !ends(top.Callers[0], "pprof.TestLeakOfSeveralCallers") ||
		!ends(top.Callers[len(top.Callers)-1], "runtime.goexit") {
		t.Errorf("stack %+v\ncallers %+v", top.Stack, top.Callers)
	}
	if top.Cause == nil || !slices.Contains(top.Stack, *top.Cause) || ends(*top.Cause, "leaktest.Leak") || strings.Contains(top.Cause.Function, "cgo") {
		t.Errorf("it is by %+v, and not by C, of %+v", top.Cause, top.Stack)
	}
	gap := slices.IndexFunc(top.Chain, func(l link) bool { return l.Function == "" })
	if gap != len(top.Stack) || top.Chain[gap].Count != 3 || len(top.Chain[gap].Ways) != 3 {
		t.Fatalf("chain %+v", top.Chain)
	}
	callers, share := make(map[string]bool), 0.0
	for _, w := range top.Chain[gap].Ways {
		share += w.Share
		if len(w.Stack) == 1 {
			callers[w.Stack[0].Function] = true
		}
	}
	if len(callers) != 3 || math.Abs(share-1) > 0.001 {
		t.Errorf("ways %+v", top.Chain[gap].Ways)
	}
	text := string(fetch(t, url+"?format=text", 200))
	for _, want := range []string{"suspect: ~", "live: ~", "\nby: ", ", on 3 stacks\n", "    ... 3 ways ...\n", "pprof.leakFromA leaks_test.go:", "pprof.leakFromB leaks_test.go:", "pprof.leakFromC leaks_test.go:"} {
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

// A recursive function is one suspect whatever its depth, and says how deep it was.
func TestRecursionInLeaks(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	for i := range uint64(24) {
		d := &heapprof.Dump{Rate: 1} // all is sampled
		for depth := range uint64(30) {
			pcs := append(slices.Repeat([]uint64{0x10}, int(depth+1)), 0x20)
			d.Stacks = append(d.Stacks, heapprof.Stack{PCs: pcs, Inuse: heapprof.Count{Objects: i + 1, Bytes: (i + 1) << 20}})
		}
		rankAs(t, r, int(i), d)
	}
	url := serve(t, r).URL + "/debug/jeprof/leaks"
	found := fromJSON[leaks](t, fetch(t, url, 200))
	want := []frame{{Function: "0xf", Times: 30}, {Function: "0x1f"}}
	if found.Suspects != 1 || !slices.Equal(found.Stacks[0].Stack, want) || found.Estimated != "" {
		t.Errorf("%+v, want one suspect %+v", found.Stacks, want)
	}
	if text := fetch(t, url+"?format=text", 200); !bytes.Contains(text, []byte("    0xf (up to 30 times)\n    0x1f\n")) {
		t.Errorf("%s", text)
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
	_, heap, err := r.takeNow(t.Context())
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
	for _, code := range r.code {
		if code.Kind == heapprof.AllocatorCode {
			named++
		}
	}
	if named == 0 || named == len(r.code) {
		t.Errorf("%d of %d addresses lie in malloc", named, len(r.code))
	}
}
