package httpapi

import (
	"sync"
	"time"
)

// rendering is a body as it is sent, with the header values made from it.
type rendering struct {
	body []byte
	etag []string
}

// renderCache keeps the bodies made from one immutable value, which K stands
// for, in up to 4 formats. They are thrown away when they are asked for with
// another value, or at another time than they are good for: the memory is that of
// one value's bodies. The zero renderCache is ready for use.
type renderCache[K comparable] struct {
	mu          sync.Mutex
	source      K
	from, until time.Time // until is zero for ever
	bodies      [4]*rendering
}

// get returns the body of source in a format, made by render if need be. now is
// the time it is wanted for, and next when it changes by itself, if ever.
//
// Who comes while another renders waits: a body made once for all is sooner there
// than many made at the same time.
func (c *renderCache[K]) get(source K, now time.Time, next func() (time.Time, bool), format int, render func() []byte) *rendering {
	c.mu.Lock()
	defer c.mu.Unlock()
	if source != c.source || now.Before(c.from) || !c.until.IsZero() && !now.Before(c.until) {
		clear(c.bodies[:])
		c.source, c.from = source, now
		c.until, _ = next()
	}
	if c.bodies[format] == nil {
		body := render()
		c.bodies[format] = &rendering{body: body, etag: []string{string(appendETag(nil, body))}}
	}
	return c.bodies[format]
}

// never is the next change of what changes only by becoming another value.
func never() (time.Time, bool) { return time.Time{}, false }
