//go:build !asan

package pprof

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"magellan/cgo/jemalloc"
)

// Each reason for which no sample is taken is told, from when the missing one was due
// on, and ends with the next sample.
func TestPaused(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	const late = 15 * time.Second
	for _, c := range []struct {
		name  string
		do    func(s *sampling)
		now   int
		since int    // of what is told
		want  string // in it; empty: nothing is told
	}{
		{"none ever", func(s *sampling) { s.next(time.Time{}) }, 1000, 0, ""},
		{"not due yet", func(*sampling) {}, 10, 0, ""},
		{"a little late", func(*sampling) {}, 25, 0, ""},
		{"nobody looks", func(*sampling) {}, 31, 15, "too little processor time to look"},
		{"under way", func(s *sampling) { s.begin("a sample", at(15)) }, 20, 0, ""},
		{"long under way", func(s *sampling) { s.begin("a sample", at(16)) }, 40, 15, "a sample that was begun at 1970-01-01T00:16:56Z is not done yet"},
		{"over the budget", func(s *sampling) {
			s.ended(700*time.Millisecond, at(30), nil)
			s.putOff(at(170), 0.005)
		}, 31, 30, "a sample took 700ms of a processor, which is more than the share of 0.5 % (Config.MaxShare) allows for now; the next sample is taken at 1970-01-01T00:19:30Z"},
		{"over the budget until it was taken", func(s *sampling) {
			s.putOff(at(170), 0.005)
			s.ended(time.Millisecond, at(185), nil)
		}, 171, 0, ""},
		{"failed", func(s *sampling) { s.ended(0, at(30), errors.New("memory is short")) }, 16, 15, "the last sample failed: memory is short"},
		{"failed again", func(s *sampling) {
			s.ended(0, at(30), errors.New("memory is short"))
			s.ended(0, at(45), errors.New("disk is full"))
		}, 31, 15, "disk is full"},
		{"failed, and then did not", func(s *sampling) {
			s.ended(0, at(30), errors.New("memory is short"))
			s.ended(time.Millisecond, at(45), nil)
		}, 31, 0, ""},
		{"profiling is off by choice", func(s *sampling) { s.ended(0, at(30), fmt.Errorf("dump: %w", choice(jemalloc.ErrProfilingOff))) }, 16, 0, ""},
		{"closed", func(s *sampling) { s.ended(0, at(30), ErrClosed) }, 1000, 0, ""},
	} {
		var s sampling
		s.next(at(15))
		c.do(&s)
		got := s.paused(at(c.now), late)
		switch {
		case (got == nil) != (c.want == ""):
			t.Errorf("%s: %v, want %q", c.name, got, c.want)
		case got == nil:
		case !strings.Contains(got.String(), c.want) || !got.Since.Equal(at(c.since)):
			t.Errorf("%s: %s, want %q since %v", c.name, got, c.want, at(c.since).UTC())
		}
	}
}

// That samples are put off is told by GET leaks in both formats, by the page and by a
// metric, and nobody is told to wait some minutes meanwhile.
func TestPausedIsTold(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	cfg := quiet(t)
	cfg.SampleInterval, cfg.Registerer = time.Hour, registry
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Source = failing("memory is short")
	r, err := newRecorder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := serve(t, r)
	now := time.Now()
	w := &watcher{r: r, growth: newBudget(0.005, now), light: newBudget(0.005, now), steps: steps{percent: -1}}
	r.sampling.next(now.Add(-time.Minute))
	gauge := func() float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "native_heap_samples_paused_seconds" {
				return f.Metric[0].GetGauge().GetValue()
			}
		}
		t.Fatal("there is no such metric")
		return 0
	}
	told := func(want string) {
		t.Helper()
		found := fromJSON[leaks](t, fetch(t, s.URL+"/debug/jeprof/leaks", 200))
		shown := map[string]string{
			"json": found.Note,
			"text": string(fetch(t, s.URL+"/debug/jeprof/leaks?format=text", 200)),
			"page": string(fetch(t, s.URL+"/debug/jeprof/ui/", 200)),
		}
		if found.Paused == nil || !strings.Contains(found.Paused.Because, want) || gauge() < 59 {
			t.Errorf("paused: %+v, for %v s", found.Paused, gauge())
		}
		for where, text := range shown {
			if !strings.Contains(text, "paused since ") || !strings.Contains(text, want) || strings.Contains(text, "stand out from the noise") {
				t.Errorf("%s: no %q in %s", where, want, text)
			}
		}
	}
	w.light.spend(time.Hour)
	w.look(now)
	told("more than the share of 0.5 %")
	w.light.saved = time.Second
	w.look(now)
	told("the last sample failed: memory is short")
	r.source = self{}
	w.look(now.Add(time.Hour))
	if found := fromJSON[leaks](t, fetch(t, s.URL+"/debug/jeprof/leaks", 200)); found.Paused != nil || gauge() != 0 || !strings.Contains(found.Note, "stand out from the noise of sampling after 3m40s") {
		t.Errorf("after a sample: %+v, %v s", found, gauge())
	}
}

// What a note promises is true: when leaks can be named, and how many samples it takes.
func TestNotes(t *testing.T) {
	cfg := quiet(t)
	cfg.SampleInterval = time.Hour
	r := newTestRecorder(t, cfg)
	for _, c := range []struct {
		k    ranking
		want string
	}{
		{ranking{}, "no sample was taken yet: the first comes 1h0m0s after the start"},
		{ranking{samples: 5, span: time.Minute}, "after 3m40s at the earliest"},
		{ranking{samples: 5, span: time.Hour}, "leaks are named after 12 samples at the earliest"},
		{ranking{samples: 12, span: time.Hour}, ""},
	} {
		if got := r.note(t.Context(), c.k, nil); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%d samples over %v: %q, want %q", c.k.samples, c.k.span, got, c.want)
		}
	}
}

// A Recorder that works by itself gets through the gate next, however many wait.
func TestGateLetsTheWatcherFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		if err := g.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		served := make(chan string, maxWaiting+1)
		for range maxWaiting {
			go func() {
				if g.enter(t.Context()) == nil {
					served <- "request"
					g.leave()
				}
			}()
		}
		synctest.Wait()
		if err := g.enter(t.Context()); !errors.Is(err, errBusy) {
			t.Errorf("one request too many: %v", err)
		}
		go func() {
			if g.enterFirst(t.Context()) == nil {
				served <- "watcher"
				g.leave()
			}
		}()
		synctest.Wait()
		g.leave()
		for i := range maxWaiting + 1 {
			if who := <-served; (who == "watcher") != (i == 0) {
				t.Errorf("number %d is a %s", i, who)
			}
		}
		// It can give up, and the gate is as it was.
		if err := g.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.enterFirst(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		g.leave()
		if err := g.enterFirst(t.Context()); err != nil {
			t.Errorf("when nobody is through: %v", err)
		}
	})
}
