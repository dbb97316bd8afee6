package pprof

import (
	"context"
	"errors"
	"time"

	"magellan/cgo/jemalloc/heapprof"
)

// watch reads how many bytes C holds, until the Recorder is closed. It keeps a dump at
// each step of growth and takes the light samples.
func (r *Recorder) watch() {
	now := time.Now()
	w := &watcher{
		r:      r,
		steps:  steps{percent: r.cfg.StepPercent, bytes: r.cfg.StepBytes, window: r.cfg.HighWaterWindow},
		growth: newBudget(r.cfg.MaxShare/2, now),
		light:  newBudget(r.cfg.MaxShare/2, now),
	}
	r.sampling.next(now.Add(r.cfg.SampleInterval))
	tick := time.NewTicker(r.cfg.PollInterval)
	defer tick.Stop()
	for {
		w.look(time.Now())
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			return
		}
	}
}

// watcher is the state of watch. Only watch's goroutine uses it.
type watcher struct {
	r      *Recorder
	steps  steps
	growth *budget   // for the dumps that are kept
	light  *budget   // for the light samples
	kept   time.Time // when the last dump was kept
	since  string    // the ID of the last dump of this series; empty: there is none yet
	failed string    // the last failure, so that it is logged once
}

// look takes the growth dump and the light sample that are due. The growth dump comes
// first, because the process may be killed soon. The light sample is taken even if a
// growth dump was: on a busy machine the process may have grown by the next step when a
// dump is done, and samples would never be taken.
func (w *watcher) look(now time.Time) {
	due := w.r.cfg.SampleInterval > 0 && w.r.sampling.isDue(now)
	if w.steps.percent >= 0 {
		stats, err := w.r.source.Stats(w.r.ctx)
		if err != nil {
			w.report(err)
			if due {
				w.r.sampling.ended(0, now.Add(w.r.cfg.SampleInterval), err)
			}
			return
		}
		step, finished := w.steps.see(now, stats.Live)
		if finished {
			w.since = ""
		}
		if step && now.Sub(w.kept) >= w.r.cfg.MinInterval && w.growth.allows(now) {
			w.grown(now, stats)
		}
	}
	if !due {
		return
	}
	if !w.light.allows(now) {
		w.r.sampling.putOff(w.light.until(), w.r.cfg.MaxShare/2)
		return
	}
	w.report(w.lightSample(now))
}

// grown keeps a dump of a step of growth and logs what grew most.
func (w *watcher) grown(now time.Time, stats Stats) {
	high := w.steps.high
	d, err := w.keep(now, Grown)
	if err != nil {
		w.report(err)
		return
	}
	w.steps.passed(stats.Live)
	attrs := []any{
		"native_bytes", stats.Live, "high_water_bytes", high, "rss_bytes", d.RSS, "dump", d.ID, "kept_in", d.Stored,
	}
	switch {
	case d.Grown != nil:
		attrs = append(attrs, "grew_most_bytes_estimated", d.Grown.Bytes, "grew_most", d.Grown.String())
	case d.Since == "" && d.HoldsMost != nil:
		attrs = append(attrs, "grew_most", "not known: there is no dump before to compare with", "holds_most_bytes_estimated", d.HoldsMost.Bytes, "holds_most", d.HoldsMost.String())
	case !stats.Active:
		attrs = append(attrs, "grew_most", "not known: "+samplingOff)
	}
	w.r.log.Warn("native memory grew", attrs...)
}

// lightSample takes a light sample for the ranking. If the series of growth has no dump
// yet, it first keeps one to compare later ones with. If that fails, the sample is still
// taken.
func (w *watcher) lightSample(now time.Time) error {
	var kept error
	if w.since == "" && w.steps.percent >= 0 && w.growth.allows(now) {
		_, kept = w.keep(now, Baseline)
	}
	w.r.sampling.begin("a sample", time.Now())
	defer w.r.sampling.idle()
	took, err := w.r.lightSample()
	w.r.sampling.ended(took, now.Add(w.r.cfg.SampleInterval), err)
	w.light.spend(took)
	return errors.Join(kept, err)
}

// lightSample takes a dump, adds it to the ranking without keeping it, and returns the
// processor time.
func (r *Recorder) lightSample() (took time.Duration, err error) {
	if err := r.gate.enterFirst(r.ctx); err != nil {
		return 0, err
	}
	defer r.gate.leave()
	took = r.processorTime(func() {
		var heap *heapprof.Dump
		if _, heap, err = r.takeNow(r.ctx); err == nil {
			err = r.rank(heap)
		}
	})
	r.metrics.sampled(took, err)
	return took, err
}

// keep keeps a dump. Its processor time is taken from the budget of growth.
func (w *watcher) keep(now time.Time, why Reason) (Dump, error) {
	w.r.sampling.begin("a heap dump", time.Now())
	defer w.r.sampling.idle()
	d, took, err := w.r.keep(w.r.ctx, why, w.since, func() {})
	w.growth.spend(took)
	if err == nil {
		w.kept, w.since = now, d.ID
	}
	return d, err
}

// report logs a failure if the last one was another. It does not log that profiling is
// off or that too many requests wait.
func (w *watcher) report(err error) {
	switch {
	case err == nil:
		w.failed = ""
	case errors.Is(err, ErrNotProfiled), errors.Is(err, errBusy), errors.Is(err, ErrClosed), errors.Is(err, context.Canceled):
	case err.Error() != w.failed:
		w.failed = err.Error()
		w.r.log.Warn("native memory cannot be watched", "error", err)
	}
}

// steps decides when the bytes that C holds have grown enough for a dump.
type steps struct {
	percent float64
	bytes   int64
	window  time.Duration

	high       int64     // the high water, from which growth is counted
	known      bool      // whether high is set
	peak, last int64     // the highest in this window, and in the one before
	begin      time.Time // when this window began
}

// see records the live bytes. due reports whether they are a step above the high water,
// and finished whether the high water was just lowered.
//
// The high water is lowered when the bytes have been a step below it for one to two
// windows, to the highest of that time. Otherwise a leak that starts after a peak would
// be noticed only when it exceeds the peak.
func (s *steps) see(now time.Time, live int64) (due, finished bool) {
	if !s.known {
		s.known, s.high, s.peak, s.last, s.begin = true, live, live, live, now
		return false, false
	}
	if now.Sub(s.begin) >= s.window {
		s.last, s.peak, s.begin = s.peak, live, now
		if top := max(s.last, s.peak); top+s.step(top) <= s.high {
			s.high, finished = top, true
		}
	}
	s.peak = max(s.peak, live)
	return live >= s.high+s.step(s.high), finished
}

// step returns by how many bytes a step of growth exceeds a level.
func (s *steps) step(level int64) int64 {
	return max(s.bytes, int64(float64(level)*s.percent/100))
}

// passed sets the high water to the live bytes of a dump that was kept.
func (s *steps) passed(live int64) { s.high = live }
