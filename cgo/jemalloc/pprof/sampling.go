package pprof

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// sampling is what is known of the light samples: when the next one is due, and why
// there is none although it is. One goroutine takes them, many ask.
type sampling struct {
	mu     sync.Mutex
	due    time.Time     // when the next one is; zero: none ever
	work   string        // what is under way; empty: nothing is
	began  time.Time     // when that did
	took   time.Duration // of a processor, the last one
	until  time.Time     // to when the budget puts the one that is due off; zero: it does not
	share  float64       // of a processor, for samples
	failed error         // of the last one
	since  time.Time     // when the first one of those that failed in a row was due
}

// Paused says that light samples are due and not taken, so that nothing new is
// learned about growth.
type Paused struct {
	Since   time.Time `json:"since"`          // when the first sample that is missing was due
	Because string    `json:"because"`        // one sentence
	Until   time.Time `json:"until,omitzero"` // when the next one is taken, where that is known
}

// String is a line for people.
func (p *Paused) String() string {
	text := fmt.Sprintf("paused since %s, because %s", p.Since.UTC().Format(time.RFC3339), p.Because)
	if !p.Until.IsZero() {
		text += fmt.Sprintf("; the next sample is taken at %s", p.Until.UTC().Format(time.RFC3339))
	}
	return text
}

// next says when the next sample is due.
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

// putOff notes that the sample that is due has to wait for the budget.
func (s *sampling) putOff(until time.Time, share float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until, s.share = until, share
}

// begin notes that a sample, or a dump that is kept, is under way. Samples wait for it.
func (s *sampling) begin(work string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.work, s.began = work, now
}

// idle notes that nothing is under way any more.
func (s *sampling) idle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.work = ""
}

// ended notes how a sample went, and when the next one is due.
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

// paused says why no sample is taken although one is due, and is nil where all is
// well. late is how long one may be overdue without a word.
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

// paused says why light samples are due and not taken, nil if they are taken.
func (r *Recorder) paused(now time.Time) *Paused {
	if r.cfg.SampleInterval <= 0 || r.ctx.Err() != nil {
		return nil
	}
	return r.sampling.paused(now, r.cfg.SampleInterval)
}
