package heapprof

import (
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const simRuns = 100

// TestCleanProcessHasNoSuspect looks at every dump of 100 processes of 15
// minutes each.
func TestCleanProcessHasNoSuspect(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine, and minutes of computing under the race detector")
	}
	t.Parallel()
	failed := 0
	for seed := range uint64(simRuns) {
		p := newCleanProcess(seed)
		cfg := RankerConfig{Allocator: func(pc uint64) bool { return pc < 0x1000 }}
		if seed%2 == 1 { // half of them know which code is Go's: other groups are looked at
			cfg = RankerConfig{Code: simCode}
		}
		r := NewRanker(cfg)
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
	if raceEnabled {
		t.Skip("one goroutine, and minutes of computing under the race detector")
	}
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
}

// series feeds a Ranker every 12 s with n(seconds) sampled objects of 8 bytes
// for each of the stacks.
func series(tb testing.TB, r *Ranker, seconds float64, stacks map[*[]uint64]func(t float64) float64) {
	tb.Helper()
	for t := 0.0; t <= seconds; t += 12 {
		d := &Dump{Rate: simRate, Time: simStart.Add(time.Duration(t * float64(time.Second)))}
		for pcs, n := range stacks {
			if c := uint64(n(t)); c > 0 {
				d.Stacks = append(d.Stacks, Stack{PCs: *pcs, Inuse: Count{c, 8 * c}})
			}
		}
		if err := r.Add(d); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestVerdicts(t *testing.T) {
	tests := []struct {
		name    string
		seconds float64
		samples func(t float64) float64
		want    Verdict
	}{
		{"leak", 600, func(t float64) float64 { return t / 10 }, Suspect},
		{"leak on a constant level", 1200, func(t float64) float64 { return 100 + t/10 }, Suspect},
		{"leak that began late", 3600, func(t float64) float64 { return max(0, t-3240) / 5 }, Suspect},
		{"fast leak under a changing load", 600, func(t float64) float64 { return 20*t + 300*math.Sin(t/30) }, Suspect},
		{"fast leak that slows down by a third", 900, func(t float64) float64 { return 30*t - 10*max(0, t-450) }, Suspect},
		{"young leak", 180, func(t float64) float64 { return t / 2 }, TooEarly},
		{"constant", 600, func(float64) float64 { return 50 }, FewSamples},
		{"two samples", 600, func(t float64) float64 { return math.Floor(t / 250) }, FewSamples},
		{"falling", 600, func(t float64) float64 { return 100 - t/10 }, FewSamples},
		{"full cache", 600, func(t float64) float64 { return min(100, t/3) }, LevelledOff},
		{"cache that fills slower and slower", 600, func(t float64) float64 { return 100 * t / (t + 30) }, LevelledOff},
		{"new plateau", 600, func(t float64) float64 { return 50 + 50*math.Round(min(1, max(0, t-500)/60)) }, TooEarly},
		{"three large blocks", 600, func(t float64) float64 { return 20 * math.Floor(t/160) }, FewSteps},
		{"sawtooth at its top", 600, func(t float64) float64 { return math.Mod(t, 120) / 2 }, FewSamples},
		{"long sawtooth", 3000, func(t float64) float64 { return math.Mod(t, 1600) / 5 }, FewSamples},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := NewRanker(RankerConfig{})
			series(t, r, test.seconds, map[*[]uint64]func(float64) float64{{1, 2, 3}: test.samples})
			got := r.Ranking()
			if len(got) != 1 || got[0].Verdict != test.want {
				t.Errorf("ranking %+v, want the verdict %q", got, test.want)
			}
			if suspects := r.Suspects(); (len(suspects) == 1) != (test.want == Suspect) {
				t.Errorf("suspects %+v", suspects)
			}
		})
	}
}

func TestGrowthFigures(t *testing.T) {
	r := NewRanker(RankerConfig{})
	series(t, r, 600, map[*[]uint64]func(float64) float64{
		{1, 2, 3}: func(t float64) float64 { return max(0, t-120) / 10 },
		{4, 5, 6}: func(t float64) float64 { return 7 },
	})
	g := r.Ranking()[0]
	// From 120 s on one sample in 10 s, each for 512 KiB.
	if want := 360.0 * simRate; math.Abs(g.BytesPerHour-want) > 0.12*want {
		t.Errorf("%.0f bytes/h, want %.0f", g.BytesPerHour, want)
	}
	if ratio := g.BytesPerHour / g.ObjectsPerHour; math.Abs(ratio-8) > 1e-3 {
		t.Errorf("%.3f bytes an object, want 8", ratio)
	}
	if relative, want := g.BytesPerHourError/g.BytesPerHour, 1/math.Sqrt(48); math.Abs(relative-want) > 0.3*want {
		t.Errorf("relative error %.3f of 48 samples, want about %.3f", relative, want)
	}
	if first := simStart.Add(132 * time.Second); !g.FirstSeen.Equal(first) || !g.LastSeen.Equal(simStart.Add(600*time.Second)) {
		t.Errorf("seen from %v to %v, want from %v", g.FirstSeen, g.LastSeen, first)
	}
	if !slices.Equal(g.PCs, []uint64{1, 2, 3}) || g.Stacks != 1 || g.Samples != 48 || math.Abs(g.Bytes-48*simRate) > 1000 {
		t.Errorf("%+v", g)
	}
	if span, n := r.Span(); span != 600*time.Second || n != 51 {
		t.Errorf("span %v of %d dumps", span, n)
	}
}

// TestLeakByManyWays: sixty callers leak too little to be named alone.
func TestLeakByManyWays(t *testing.T) {
	allocator := func(pc uint64) bool { return pc < 100 }
	build := func(common ...uint64) map[*[]uint64]func(float64) float64 {
		stacks := make(map[*[]uint64]func(float64) float64)
		for i := range 60 {
			pcs := append(slices.Clone(common), 1000+uint64(i), 7)
			stacks[&pcs] = func(t float64) float64 { return math.Floor((t + float64(i)*10) / 600) }
		}
		return stacks
	}
	r := NewRanker(RankerConfig{Allocator: allocator})
	series(t, r, 600, build(1, 2, 200, 201))
	s := r.Suspects()
	if len(s) != 1 || !slices.Equal(s[0].PCs, []uint64{1, 2, 200, 201}) || s[0].Stacks < 50 {
		t.Errorf("suspects %+v, want what the ways have in common", s)
	}
	r = NewRanker(RankerConfig{Allocator: allocator})
	series(t, r, 600, build(1, 2, 200))
	if s := r.Suspects(); len(s) != 0 {
		t.Errorf("suspects %+v: all they have in common is that they allocate", s)
	}
}

// TestRankerMemory: two days of dumps with stacks that come and go leave a
// bounded series, which still holds the leak.
func TestRankerMemory(t *testing.T) {
	const maxStacks = 50
	r := NewRanker(RankerConfig{MaxStacks: maxStacks})
	leak := []uint64{1, 2, 3}
	for i := range 2 * 24 * 60 {
		d := &Dump{Rate: simRate, Time: simStart.Add(time.Duration(i) * time.Minute)}
		d.Stacks = append(d.Stacks, Stack{PCs: leak, Inuse: Count{uint64(i / 20), uint64(i / 20 * 8)}})
		for k := range 60 {
			d.Stacks = append(d.Stacks, Stack{PCs: []uint64{9, uint64(i*60 + k)}, Inuse: Count{1, 8}})
		}
		if err := r.Add(d); err != nil {
			t.Fatal(err)
		}
		if len(r.times) > maxPoints || len(r.tracks) > maxStacks {
			t.Fatalf("%d dumps, %d stacks kept", len(r.times), len(r.tracks))
		}
	}
	for _, track := range r.tracks {
		if len(track.points) != len(r.times) || cap(track.points) > 2*maxPoints {
			t.Fatalf("%d points, room for %d, for %d dumps", len(track.points), cap(track.points), len(r.times))
		}
	}
	span, _ := r.Span()
	if span < 47*time.Hour {
		t.Errorf("the series covers %v", span)
	}
	if s := r.Suspects(); len(s) != 1 || !slices.Equal(s[0].PCs, leak) {
		t.Errorf("suspects %+v", s)
	}
}

func TestRankerRefuses(t *testing.T) {
	r := NewRanker(RankerConfig{})
	if g := r.Ranking(); len(g) != 0 {
		t.Errorf("ranking of nothing: %+v", g)
	}
	add := func(d *Dump) error { return r.Add(d) }
	if err := add(&Dump{Rate: 1}); !errors.Is(err, ErrNoTime) {
		t.Errorf("no time: %v", err)
	}
	if err := add(&Dump{Rate: 1, Time: simStart}); err != nil {
		t.Fatal(err)
	}
	if err := add(&Dump{Rate: 1, Time: simStart}); !errors.Is(err, ErrNoTime) {
		t.Errorf("the same time: %v", err)
	}
	if err := add(&Dump{Rate: 2, Time: simStart.Add(time.Second)}); !errors.Is(err, ErrOtherProfile) {
		t.Errorf("another rate: %v", err)
	}
}

func TestWriteGrowth(t *testing.T) {
	r := NewRanker(RankerConfig{})
	series(t, r, 600, map[*[]uint64]func(float64) float64{{1, 2, 3}: func(t float64) float64 { return t / 10 }})
	symbols := &Symbols{
		frames:    map[uint64][]Frame{1: {{Function: "prof_backtrace"}, {Function: "imalloc_body"}, {Function: "malloc"}}, 2: {{Function: "leak8", File: "/src/leak.c", Line: 12}, {Function: "worker", File: "/src/leak.c", Line: 20}}},
		allocator: map[uint64]bool{1: true},
	}
	var b strings.Builder
	if err := WriteGrowth(&b, r.Suspects(), symbols); err != nil {
		t.Fatal(err)
	}
	const want = "suspect: ~179.9MiB/h ± 25.5MiB/h, ~23575347 objects/h, confidence 1.0000 (60 samples)\n" +
		"live: ~30.0MiB in ~3932190 objects; first seen 2026-01-02T03:04:17Z, last seen 2026-01-02T03:14:05Z\n" +
		"    malloc\n    leak8 leak.c:12\n    worker leak.c:20\n    0x2\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	d := mustParse(t, goldens(t)["threads"])
	s := NewSymbolizer(SymbolizerConfig{Root: t.TempDir()})
	r := NewRanker(RankerConfig{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			mine := *d
			mine.Time = simStart.Add(time.Duration(i) * time.Second)
			if err := r.Add(&mine); err != nil && !errors.Is(err, ErrNoTime) {
				t.Error(err)
			}
			symbols := s.SymbolizeDump(d)
			for _, g := range r.Ranking() {
				symbols.Stack(g.PCs)
			}
			if err := d.Profile(ProfileOptions{Symbols: symbols}).CheckValid(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestNothingSampledYet: a process that has just started has dumps without a
// single stack.
func TestNothingSampledYet(t *testing.T) {
	r := NewRanker(RankerConfig{})
	for i := range 2 {
		d, err := Parse(strings.NewReader("heap_v2/524288\n  t*: 0: 0 [0: 0]\n\nMAPPED_LIBRARIES:\n55d0c0000000-55d0c0001000 r-xp 00000000 08:01 1 /bin/x\n"), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		d.Time = time.Unix(int64(15*i), 0)
		if err := r.Add(d); err != nil {
			t.Fatal(err)
		}
		if all := r.Ranking(); len(all) != 0 {
			t.Errorf("ranking of nothing: %v", all)
		}
		if all := r.Suspects(); len(all) != 0 {
			t.Errorf("suspects in nothing: %v", all)
		}
	}
}
