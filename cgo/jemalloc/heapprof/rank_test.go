package heapprof

import (
	"math"
	"slices"
	"testing"
	"time"
)

const simRuns = 100

// TestCleanProcessHasNoSuspect looks at every dump of 100 processes of 15
// minutes each.
func TestCleanProcessHasNoSuspect(t *testing.T) {
	t.Parallel()
	failed := 0
	for seed := range uint64(simRuns) {
		p := newCleanProcess(seed)
		r := NewRanker(RankerConfig{Allocator: func(pc uint64) bool { return pc < 0x1000 }})
		named := false
		for ; p.now < 900; p.advance(p.uniform(10, 15)) {
			if err := r.Add(p.dump()); err != nil {
				t.Fatal(err)
			}
			for _, g := range r.Suspects() {
				if !named {
					t.Errorf("seed %d at %.0f s: %v: %.0f samples over %v, confidence %.3f", seed, p.now, p.kinds(g.PCs), g.Samples, g.To.Sub(g.From), g.Confidence)
				}
				named = true
			}
		}
		if named {
			failed++
		}
	}
	t.Logf("%d of %d clean processes had a suspect", failed, simRuns)
}

// TestLeakIsNamedWithinFiveMinutes adds a leak of 50 KB/s in objects of 8
// bytes to the same processes.
func TestLeakIsNamedWithinFiveMinutes(t *testing.T) {
	t.Parallel()
	const bytesPerSecond = 50e3
	leak := []uint64{0x10, 0x20, 0x1003, 0xbad, 0xbad0, 0x4001, 0x5000}
	named, atEnd, within := 0, 0, 0
	var times []float64
	for seed := range uint64(simRuns) {
		p := newCleanProcess(seed)
		p.add(&simSite{
			pcs: leak, size: p.fixed(8), end: never,
			sampled: func(from, to float64) float64 { return bytesPerSecond / simRate * (to - from) },
		})
		r := NewRanker(RankerConfig{Allocator: func(pc uint64) bool { return pc < 0x1000 }})
		first, end := 0.0, false
		for ; p.now < 300; p.advance(p.uniform(10, 15)) {
			if err := r.Add(p.dump()); err != nil {
				t.Fatal(err)
			}
			s := r.Suspects()
			end = len(s) > 0 && slices.Equal(s[0].PCs, leak)
			if end && first == 0 {
				first = p.now
			}
		}
		if first > 0 {
			named++
			times = append(times, first)
		}
		if end {
			atEnd++
		}
		if first == 0 {
			for _, g := range r.Ranking() {
				if slices.Equal(g.PCs, leak) {
					t.Logf("seed %d: not named: %s, %.0f samples, confidence %f", seed, g.Verdict, g.Samples, g.Confidence)
				}
			}
		}
		for _, g := range r.Ranking() {
			if slices.Equal(g.PCs, leak) && math.Abs(g.BytesPerHour-bytesPerSecond*3600) < 2*g.BytesPerHourError {
				within++
			}
		}
	}
	slices.Sort(times)
	t.Logf("named within 300 s: %d of %d, median %.0f s; still named at 300 s: %d; rate within two standard deviations: %d",
		named, simRuns, times[len(times)/2], atEnd, within)
	if named < 95 {
		t.Errorf("named in %d of %d runs, want 95", named, simRuns)
	}
	if within < 88 {
		t.Errorf("the rate is within two standard deviations in %d of %d runs", within, simRuns)
	}
	_ = time.Second
}
