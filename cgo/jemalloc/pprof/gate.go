package pprof

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// errBusy: too many requests wait already.
var errBusy = errors.New("too many dumps are asked for at once: try again in a second")

// gate lets one through at a time. It bounds memory and processors: a dump of
// 100,000 stacks is some 100 MB while it is worked on.
type gate struct {
	busy    chan struct{}
	first   chan struct{} // hands over to enterFirst
	waiting atomic.Int32
}

// maxWaiting is how many may wait before the gate. At some 10 ms for a dump the
// last of them waits a second.
const maxWaiting = 32

func newGate() *gate { return &gate{busy: make(chan struct{}, 1), first: make(chan struct{})} }

// enter waits for its turn. Every enter without error needs a leave.
func (g *gate) enter(ctx context.Context) error {
	select {
	case g.busy <- struct{}{}:
		return nil
	default:
	}
	if g.waiting.Add(1) > maxWaiting {
		g.waiting.Add(-1)
		return errBusy
	}
	defer g.waiting.Add(-1)
	select {
	case g.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// enterFirst waits for the one who is through, and for nobody who waits: what a
// Recorder does by itself is done however many ask for something.
func (g *gate) enterFirst(ctx context.Context) error {
	select {
	case g.busy <- struct{}{}:
		return nil
	case <-g.first: // it stays busy
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *gate) leave() {
	select {
	case g.first <- struct{}{}:
	default:
		<-g.busy
	}
}

// shared makes those who ask while a dump is under way share the next one, which
// begins after all of them asked.
type shared struct {
	mu   sync.Mutex
	next *flight
}

type flight struct {
	done chan struct{}
	dump Dump
	err  error
}

// do returns what take returns, of a call that began after do did. take calls
// begins when it can no longer be joined, and is told to give up by nobody: those
// who wait may go, the dump is kept.
func (s *shared) do(ctx context.Context, take func(begins func()) (Dump, error)) (Dump, error) {
	s.mu.Lock()
	f := s.next
	if f == nil {
		f = &flight{done: make(chan struct{})}
		s.next = f
		go func() {
			defer close(f.done)
			f.dump, f.err = take(func() { s.closed(f) })
			s.closed(f) // take may have failed before it began
		}()
	}
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.dump, f.err
	case <-ctx.Done():
		return Dump{}, context.Cause(ctx)
	}
}

// closed ends joining a flight.
func (s *shared) closed(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == f {
		s.next = nil
	}
}
