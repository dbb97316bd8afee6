//go:build !asan

package pprof

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/heapprof"
	"magellan/cgo/jemalloc/internal/leaktest"
)

func TestSteps(t *testing.T) {
	start := time.Unix(0, 0)
	type look struct {
		minute int
		live   int64 // MiB
		due    bool
		ends   bool
	}
	for _, c := range []struct {
		name  string
		looks []look
	}{
		{"flat", []look{{0, 100, false, false}, {1, 110, false, false}, {2, 100, false, false}, {200, 115, false, false}}},
		{"20 % of much", []look{{0, 1000, false, false}, {1, 1199, false, false}, {2, 1200, true, false}, {3, 1300, false, false}, {4, 1440, true, false}}},
		{"16 MiB of little", []look{{0, 10, false, false}, {1, 25, false, false}, {2, 26, true, false}, {3, 41, false, false}, {4, 42, true, false}}},
		{"slow leak", []look{{0, 100, false, false}, {60, 105, false, false}, {120, 110, false, false}, {180, 115, false, false}, {240, 121, true, false}}},
		{"sawtooth below the high water", []look{{0, 100, false, false}, {1, 200, true, false}, {20, 100, false, false}, {40, 200, false, false},
			{60, 100, false, false}, {80, 200, false, false}, {100, 100, false, false}, {120, 200, false, false}}},
		{"leak after a peak that is long gone", []look{{0, 100, false, false}, {1, 1000, true, false}, {2, 100, false, false}, {62, 100, false, false},
			{121, 100, false, false}, {122, 100, false, true}, {123, 130, true, false}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := steps{percent: 20, bytes: 16 * mib, window: time.Hour}
			for _, l := range c.looks {
				due, ends := s.see(start.Add(time.Duration(l.minute)*time.Minute), l.live*mib)
				if due != l.due || ends != l.ends {
					t.Fatalf("minute %d, %d MiB: due %v, series ends %v; want %v, %v (%+v)", l.minute, l.live, due, ends, l.due, l.ends, s)
				}
				if due {
					s.passed(l.live * mib)
				}
			}
		})
	}
}

func TestBudget(t *testing.T) {
	now := time.Unix(0, 0)
	b := newBudget(0.01, now)
	var spent time.Duration
	for range 3600 {
		now = now.Add(time.Second)
		if b.allows(now) {
			const dump = 300 * time.Millisecond
			b.spend(dump)
			spent += dump
		}
	}
	// What was saved, a hundredth of an hour, and at most one dump too many.
	if most := maxSaved + 36*time.Second + 300*time.Millisecond; spent > most || spent < 30*time.Second {
		t.Errorf("%v of an hour were spent, want up to %v", spent, most)
	}
}

// However much a piece of work took, the next one is put off for a bounded time.
func TestDebtIsBounded(t *testing.T) {
	const share = 0.005
	now := time.Unix(0, 0)
	b := newBudget(share, now)
	for range 3 {
		b.spend(time.Hour)
	}
	if b.allows(now) {
		t.Error("an hour was spent, and there is something left")
	}
	until := b.until()
	if delay := until.Sub(now); delay < maxDelay-time.Second || delay > maxDelay+time.Second {
		t.Errorf("work is put off for %v, want %v", delay, maxDelay)
	}
	// A clock that is set back, or a look that comes late, changes nothing of that.
	if b.allows(now.Add(-time.Hour)) || b.allows(now) {
		t.Error("something was saved in no time")
	}
	b = newBudget(share, now)
	b.spend(maxSaved + 100*time.Millisecond) // 20 s at that share
	if until := b.until(); b.allows(until.Add(-time.Millisecond)) || !b.allows(until.Add(time.Millisecond)) || until.Sub(now).Round(time.Second) != 20*time.Second {
		t.Errorf("until says %v", until.Sub(now))
	}
}

// What is charged is what the work takes of a processor: not the time in which it
// waits for one, or for anything else, and not what other threads take meanwhile.
func TestProcessorTime(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	threads := leaktest.Busy(16 * runtime.NumCPU())
	defer leaktest.Stop()
	start := time.Now()
	const work = 50 * time.Millisecond
	took := r.processorTime(func() {
		for begin := threadTime(); threadTime()-begin < work; {
		}
	})
	passed := time.Since(start)
	if took < work || took > passed/2 {
		t.Errorf("%v of work were charged with %v; beside %d other threads %v passed", work, took, threads, passed)
	}
	start = time.Now()
	took = r.processorTime(func() {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-t.Context().Done():
		}
	})
	if passed := time.Since(start); took > passed/2 {
		t.Errorf("%v of waiting were charged with %v", passed, took)
	}
}

// costly is a Source each of whose dumps takes so much of a processor, and more.
type costly struct {
	Source
	work time.Duration
}

func (c costly) Dump(ctx context.Context, w io.Writer) error {
	for begin := threadTime(); threadTime()-begin < c.work; {
	}
	return c.Source.Dump(ctx, w)
}

// On a machine with far more to do than it can, samples take long and cost little:
// none is put off. The watcher's clock goes by 15 s for each look. Each sample takes half
// of what is due to it, and so many times as long as there are threads, so that a budget
// of time that passes would be spent.
func TestBusyMachineIsSampled(t *testing.T) {
	cfg := quiet(t)
	cfg.SampleInterval = 15 * time.Second
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	self, err := newSelf()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Source = costly{self, time.Duration(float64(cfg.SampleInterval) * cfg.MaxShare / 4)}
	r, err := newRecorder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	threads := leaktest.Busy(8 * runtime.NumCPU())
	defer leaktest.Stop()
	now := time.Now()
	w := &watcher{r: r, growth: newBudget(cfg.MaxShare/2, now), light: newBudget(cfg.MaxShare/2, now), steps: steps{percent: -1}}
	r.sampling.next(now)
	const looks = heapprof.MinDumps
	for range looks {
		w.look(now)
		if p := r.paused(now); p != nil {
			t.Fatal(p)
		}
		now = now.Add(cfg.SampleInterval)
	}
	if _, n := r.ranker.Span(); n != looks {
		t.Errorf("%d samples in %d looks beside %d threads", n, looks, threads)
	}
}

// Light samples that cost more than there is: growth has its dump all the same.
func TestSamplesLeaveGrowthItsBudget(t *testing.T) {
	r := newTestRecorder(t, quiet(t))
	now := time.Now()
	w := &watcher{r: r, growth: newBudget(0.005, now), light: newBudget(0.005, now), since: "a series", steps: steps{percent: -1}}
	w.light.saved = time.Nanosecond
	if err := w.lightSample(now); err != nil {
		t.Fatal(err)
	}
	if w.light.allows(now) || !w.growth.allows(now) {
		t.Errorf("after a sample %v is left for samples and %v for growth", w.light.saved, w.growth.saved)
	}
	w.growth.saved = time.Nanosecond
	if _, err := w.keep(now, Grown); err != nil {
		t.Fatal(err)
	}
	if w.growth.allows(now) {
		t.Errorf("after a dump %v is left for growth", w.growth.saved)
	}
}

// watching is a Recorder that looks at each millisecond and keeps a dump for each
// 32 MiB.
func watching(t *testing.T, cfg Config) *Recorder {
	cfg.PollInterval, cfg.MinInterval, cfg.MaxShare = time.Millisecond, time.Millisecond, 1
	cfg.StepBytes, cfg.StepPercent = 32*mib, 1
	return newTestRecorder(t, cfg)
}

func ofReason(r *Recorder, why Reason) (found []Dump) {
	for _, d := range r.Dumps() {
		if d.Reason == why {
			found = append(found, d)
		}
	}
	return found
}

func TestGrowthKeepsDumps(t *testing.T) {
	log := &output{wrote: make(chan struct{}, 1)}
	r := watching(t, Config{Dir: t.TempDir(), SampleInterval: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(log, nil))})
	eventually(t, "a baseline", func() bool { return len(ofReason(r, Baseline)) == 1 })
	for step := range 3 {
		block := leaktest.Leak(10, 4*mib)
		defer block.Free()
		eventually(t, "a dump of a step", func() bool {
			grown := ofReason(r, Grown)
			return len(grown) == step+1 && grown[step].ProfileBytes > 0
		})
	}
	grown := ofReason(r, Grown)
	base := ofReason(r, Baseline)[0]
	if base.Ramp != base.ID {
		t.Errorf("the baseline begins no series: %+v", base)
	}
	since := base.ID
	for _, d := range grown {
		readable(t, r, d.ID)
		switch {
		case d.Grown == nil || d.Ledger.RSS == 0 || d.LeakSummary == "":
			t.Fatalf("%+v", d)
		case d.Ramp != base.ID || d.Grown.Since != since:
			t.Errorf("of series %q and compared with %q, want %q and %q", d.Ramp, d.Grown.Since, base.ID, since)
		// The dump may be of the middle of the leak, once it is more than a step.
		case d.Grown.Bytes < 20*mib || d.Grown.Bytes > 60*mib:
			t.Errorf("grew by %d bytes, want 32 to 40 MiB", d.Grown.Bytes)
		case !strings.Contains(d.Grown.String(), "leaktest.Leak leaktest.go:"):
			t.Errorf("it was %s", d.Grown)
		}
		since = d.ID
	}
	// A dump is kept before it is logged.
	eventually(t, "the last step is logged", func() bool { return strings.Contains(log.String(), "dump="+grown[2].ID) })
	lines := 0
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "native memory grew") {
			lines++
			for _, want := range []string{"level=WARN", "leaktest.Leak leaktest.go:", "TestGrowthKeepsDumps watch_test.go:", "dump=" + grown[lines-1].ID, "rss_bytes="} {
				if !strings.Contains(line, want) {
					t.Errorf("no %q in %s", want, line)
				}
			}
		}
	}
	if lines != 3 {
		t.Errorf("%d lines for 3 steps:\n%s", lines, log)
	}
}

// A process that has grown by a step at each look has its light samples all the same.
func TestGrowthDoesNotStarveSamples(t *testing.T) {
	cfg := quiet(t)
	cfg.SampleInterval = 15 * time.Second
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	r, err := newRecorder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	now := time.Now()
	w := &watcher{r: r, growth: newBudget(1, now), light: newBudget(1, now), steps: steps{percent: 1, bytes: mib, window: time.Hour}}
	r.sampling.next(now)
	for range 5 {
		w.look(now)
		now = now.Add(cfg.SampleInterval)
		defer leaktest.Leak(8, mib).Free()
	}
	if _, samples := r.ranker.Span(); samples != 5 || len(ofReason(r, Grown)) != 4 {
		t.Errorf("%d samples and %d dumps of growth in 5 looks", samples, len(ofReason(r, Grown)))
	}
}

// Growth before there is any dump to compare with: what grew is not known, and what
// holds most is called that.
func TestGrowthWithNothingBefore(t *testing.T) {
	log := &output{wrote: make(chan struct{}, 1)}
	r := newTestRecorder(t, Config{StepPercent: -1, SampleInterval: -1, Logger: slog.New(slog.NewTextHandler(log, nil))})
	now := time.Now()
	w := &watcher{r: r, growth: newBudget(1, now), steps: steps{percent: 1, bytes: 32 * mib, window: time.Hour}}
	w.look(now)
	defer leaktest.Leak(10, 4*mib).Free()
	w.look(now.Add(time.Minute))
	if len(r.Dumps()) != 1 {
		t.Fatalf("%+v", r.Dumps())
	}
	d := r.Dumps()[0]
	if d.Reason != Grown || d.Since != "" || d.Grown != nil || d.HoldsMost == nil || !strings.Contains(d.HoldsMost.String(), "leaktest.Leak leaktest.go:") {
		t.Errorf("%+v", d)
	}
	for _, want := range []string{`grew_most="not known: there is no dump before to compare with"`, "holds_most_bytes_estimated=", "leaktest.Leak leaktest.go:"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in %s", want, log)
		}
	}
	page := string(fetch(t, serve(t, r).URL+"/debug/jeprof/ui/", 200))
	if !strings.Contains(page, "<td>nothing to compare with; holds most: ~4") {
		t.Errorf("%s", page)
	}
}

func TestFlatKeepsNothing(t *testing.T) {
	r := watching(t, Config{SampleInterval: time.Millisecond})
	// As many light samples as there would be in minutes, while C allocates and frees.
	eventually(t, "50 light samples", func() bool {
		leaktest.Leak(1000, 1024).Free()
		return r.ranking().samples >= 50
	})
	if grown := ofReason(r, Grown); len(grown) != 0 {
		t.Errorf("nothing grew: %+v", grown)
	}
	if n := len(r.Dumps()); n != 1 {
		t.Errorf("%d dumps are kept, want the baseline alone", n)
	}
	if k := r.ranking(); k.suspects() != 0 {
		t.Errorf("suspects: %+v", k.stacks[0])
	}
}

func TestNothingIsDoneUnasked(t *testing.T) {
	cfg := quiet(t)
	cfg.Source = failing("a dump was taken")
	r, err := newRecorder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.start()
	defer leaktest.Leak(100, mib).Free()
	r.Close() // joins the watcher, if there is one
	if n := len(r.Dumps()); n != 0 {
		t.Errorf("%d dumps", n)
	}
}

func TestFailuresAreLoggedOnce(t *testing.T) {
	log := &output{wrote: make(chan struct{}, 1)}
	broken := errors.New("memory is short")
	cfg, err := Config{Logger: slog.New(slog.NewTextHandler(log, nil))}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{r: &Recorder{cfg: cfg, log: cfg.Logger}}
	for range 3 {
		w.report(broken)
		w.report(choice(jemalloc.ErrProfilingOff))
		w.report(errBusy)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines:\n%s", n, log)
	}
	w.report(nil)
	w.report(broken)
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("a failure that comes again: %d lines:\n%s", n, log)
	}
}

func TestClose(t *testing.T) {
	r := watching(t, Config{SampleInterval: time.Millisecond})
	d := take(t, r)
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Take(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("Take after Close: %v", err)
	}
	readable(t, r, d.ID)
}
