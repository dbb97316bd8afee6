package pprof

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// sampling is the state of the light samples: when the next one is due, and why it is
// not taken if it is overdue. One goroutine takes samples. Any goroutine may ask for the
// state.
type sampling struct {
	mu     sync.Mutex
	due    time.Time     // when the next sample is due; zero: never
	work   string        // what is under way; empty: nothing
	began  time.Time     // when work began
	took   time.Duration // the processor time of the last sample
	until  time.Time     // until when the budget delays the sample that is due; zero: it does not
	share  float64       // the share of a processor that samples may take
	failed error         // the error of the last sample
	since  time.Time     // when the first of the last failed samples in a row was due
}

// Paused says that light samples are due but not taken. Meanwhile the ranking of growth
// does not change.
type Paused struct {
	Since   time.Time `json:"since"`          // when the first missing sample was due
	Because string    `json:"because"`        // the reason, in one sentence
	Until   time.Time `json:"until,omitzero"` // when the next sample is taken, if that is known
}

// String returns p as a line of text.
func (p *Paused) String() string {
	text := fmt.Sprintf("paused since %s, because %s", p.Since.UTC().Format(time.RFC3339), p.Because)
	if !p.Until.IsZero() {
		text += fmt.Sprintf("; the next sample is taken at %s", p.Until.UTC().Format(time.RFC3339))
	}
	return text
}

// next sets when the next sample is due.
func (s *sampling) next(due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due = due
}

func (s *sampling) isDue(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !now.Before(s.due)
}

// putOff records that the sample that is due has to wait for the budget.
func (s *sampling) putOff(until time.Time, share float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until, s.share = until, share
}

// begin records that a sample or a dump is under way. Samples wait until it ends.
func (s *sampling) begin(work string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.work, s.began = work, now
}

// idle records that nothing is under way.
func (s *sampling) idle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.work = ""
}

// ended records the result of a sample, and when the next one is due.
func (s *sampling) ended(took time.Duration, next time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.since = s.due
	}
	s.failed, s.due, s.until = err, next, time.Time{}
	if took > 0 {
		s.took = took
	}
}

// paused returns why no sample is taken although one is due, or nil. A sample may be
// overdue by late without a report.
func (s *sampling) paused(now time.Time, late time.Duration) *Paused {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.due.IsZero() {
		return nil
	}
	for _, choice := range []error{ErrNotProfiled, ErrClosed} {
		if errors.Is(s.failed, choice) {
			return nil
		}
	}
	switch {
	case s.failed != nil:
		return &Paused{Since: s.since, Because: "the last sample failed: " + s.failed.Error(), Until: s.due}
	case !s.until.IsZero():
		return &Paused{Since: s.due, Until: s.until, Because: fmt.Sprintf(
			"a sample took %v of a processor, which is more than the share of %.2g %% (Config.MaxShare) allows for now", s.took.Round(time.Millisecond), 100*s.share)}
	case now.Sub(s.due) <= late:
		return nil
	case s.work != "":
		return &Paused{Since: s.due, Because: fmt.Sprintf(
			"%s that was begun at %s is not done yet: the process gets little processor time, or a request that reads a profile is before it", s.work, s.began.UTC().Format(time.RFC3339))}
	}
	return &Paused{Since: s.due, Because: "the process gets too little processor time to look whether one is due"}
}

// paused returns why light samples are due but not taken, or nil.
func (r *Recorder) paused(now time.Time) *Paused {
	if r.cfg.SampleInterval <= 0 || r.ctx.Err() != nil {
		return nil
	}
	return r.sampling.paused(now, r.cfg.SampleInterval)
}
