package httpapi

import (
	"context"
	"sync"
	"time"
)

// lazyContext is a request's context with its deadline. The timer, and what
// [context.WithDeadline] allocates, come into being when somebody waits for it,
// which an answer from memory never does.
//
// It is used for request after request until one has waited. A [discovery.Reader]
// keeps no context beyond the call it was given for.
type lazyContext struct {
	parent   context.Context
	deadline time.Time

	mu     sync.Mutex
	timed  context.Context // nil until somebody waits
	cancel context.CancelFunc
}

var _ context.Context = (*lazyContext)(nil)

// Deadline implements [context.Context].
func (c *lazyContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done implements [context.Context].
func (c *lazyContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.timed, c.cancel = context.WithDeadline(c.parent, c.deadline)
	}
	return c.timed.Done()
}

// Err implements [context.Context].
func (c *lazyContext) Err() error {
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Err()
	}
	if err := c.parent.Err(); err != nil {
		return err
	}
	if !time.Now().Before(c.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements [context.Context].
func (c *lazyContext) Value(key any) any { return c.parent.Value(key) }

// end releases the timer. It reports true if somebody waited: they may still
// look at c, which must not be used again.
func (c *lazyContext) end() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.parent = nil
		return false
	}
	c.cancel()
	return true
}
