package httpapi

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// lazyContext is a request's context with its deadline. The timer, and what
// [context.WithDeadline] allocates, are made when somebody calls Done. For an answer from
// memory nobody does.
//
// The same lazyContext serves one request after the other, until somebody has called Done.
// That is sound because a [shops.Reader] keeps no context beyond the call that it was given
// for.
type lazyContext struct {
	parent   context.Context
	deadline time.Time

	mu    sync.Mutex // held to make timed
	timed atomic.Pointer[timedContext]
}

// timedContext is the context that is made when somebody calls Done.
type timedContext struct {
	context.Context
	cancel context.CancelFunc
}

var _ context.Context = (*lazyContext)(nil)

// renewed ends c, and returns a context with this parent and deadline. That is c again,
// unless c is nil or somebody has called Done.
func (c *lazyContext) renewed(parent context.Context, deadline time.Time) *lazyContext {
	if c == nil || c.end() {
		c = new(lazyContext)
	}
	c.parent, c.deadline = parent, deadline
	return c
}

// Deadline implements [context.Context].
func (c *lazyContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done implements [context.Context].
func (c *lazyContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	timed := c.timed.Load()
	if timed == nil {
		timed = new(timedContext)
		timed.Context, timed.cancel = context.WithDeadline(c.parent, c.deadline)
		c.timed.Store(timed)
	}
	return timed.Done()
}

// Err implements [context.Context]. Until somebody calls Done the deadline does not pass.
func (c *lazyContext) Err() error {
	if timed := c.timed.Load(); timed != nil {
		return timed.Err()
	}
	return c.parent.Err()
}

// Value implements [context.Context].
func (c *lazyContext) Value(key any) any { return c.parent.Value(key) }

// end releases the timer. It reports true if somebody has called Done: they may still look
// at c, so c must not be used again.
func (c *lazyContext) end() bool {
	if timed := c.timed.Load(); timed != nil {
		timed.cancel()
		return true
	}
	c.parent = nil
	return false
}
