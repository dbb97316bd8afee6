package pprof

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// errBusy is the answer if too many requests wait already.
var errBusy = errors.New("too many dumps are asked for at once: try again in a second")

// gate lets one caller work at a time, which bounds memory and processor time: the work
// on a dump of 100,000 stacks takes some 100 MB.
type gate struct {
	busy    chan struct{}
	first   chan struct{} // leave passes the gate to enterFirst by it
	waiting atomic.Int32
}

// maxWaiting is how many callers of enter may wait. A dump takes some 10 ms, so the last
// of them waits less than a second.
const maxWaiting = 32

func newGate() *gate { return &gate{busy: make(chan struct{}, 1), first: make(chan struct{})} }

// enter waits until the caller may work. Every enter without an error needs a leave.
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

// enterFirst waits only for the caller that works now, not for those that wait in enter.
// So the Recorder's own work is done however many requests there are.
func (g *gate) enterFirst(ctx context.Context) error {
	select {
	case g.busy <- struct{}{}:
		return nil
	case <-g.first: // busy stays taken
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

// shared takes one dump for all callers that ask while another dump is taken. That dump
// begins after all of them have asked.
type shared struct {
	mu   sync.Mutex
	next *flight
}

type flight struct {
	done chan struct{}
	dump Dump
	err  error
}

// do returns the result of a call of take whose dump began after do was called. take calls
// begins when the dump begins: later callers of do get the next one. take is not
// cancelled. If all callers are gone, the dump is still kept.
func (s *shared) do(ctx context.Context, take func(begins func()) (Dump, error)) (Dump, error) {
	s.mu.Lock()
	f := s.next
	if f == nil {
		f = &flight{done: make(chan struct{})}
		s.next = f
		go func() {
			defer close(f.done)
			f.dump, f.err = take(func() { s.closed(f) })
			s.closed(f) // take may have failed before its dump began
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

// closed makes later callers start another flight.
func (s *shared) closed(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == f {
		s.next = nil
	}
}
