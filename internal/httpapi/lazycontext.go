package httpapi

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// lazyContext is a request's context with its deadline. The timer, and what
// [context.WithDeadline] allocates, come into being when somebody waits for it,
// which an answer from memory never does.
//
// It is used for request after request until one has waited. A [shops.Reader]
// keeps no context beyond the call it was given for.
type lazyContext struct {
	parent   context.Context
	deadline time.Time

	mu    sync.Mutex // held to make timed
	timed atomic.Pointer[timedContext]
}

// timedContext is what somebody waits for.
type timedContext struct {
	context.Context
	cancel context.CancelFunc
}

var _ context.Context = (*lazyContext)(nil)

// renewed returns a context with this parent and deadline: c, unless there is none or
// somebody has waited for it.
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

// Err implements [context.Context]. Until somebody waits the deadline does not
// pass.
func (c *lazyContext) Err() error {
	if timed := c.timed.Load(); timed != nil {
		return timed.Err()
	}
	return c.parent.Err()
}

// Value implements [context.Context].
func (c *lazyContext) Value(key any) any { return c.parent.Value(key) }

// end releases the timer. It reports true if somebody waited: they may still
// look at c, which must not be used again.
func (c *lazyContext) end() bool {
	if timed := c.timed.Load(); timed != nil {
		timed.cancel()
		return true
	}
	c.parent = nil
	return false
}
