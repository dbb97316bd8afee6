package cache

import (
	"context"
	"sync"
)

// shared is work that many callers share. At most one run of the work is under way, and all
// callers that come meanwhile share the next run. The zero value is ready.
type shared struct {
	mu      sync.Mutex
	running bool
	next    []func(error)
}

// join calls done once a run of the work has ended that began after this call. All calls for
// the same shared must give the same work.
func (s *shared) join(work func(done func(error)), done func(error)) {
	s.mu.Lock()
	s.next = append(s.next, done)
	begin := !s.running
	s.running = true
	s.mu.Unlock()
	if begin {
		s.begin(work)
	}
}

func (s *shared) begin(work func(done func(error))) {
	s.mu.Lock()
	waiting := s.next
	s.next = nil
	s.mu.Unlock()
	work(func(err error) {
		s.mu.Lock()
		s.running = len(s.next) > 0
		again := s.running
		s.mu.Unlock()
		if again {
			s.begin(work)
		}
		for _, done := range waiting {
			done(err)
		}
	})
}

// joined calls join, and waits until the work has ended or ctx has.
func joined(ctx context.Context, join func(done func(error))) error {
	done := make(chan error, 1)
	join(func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
