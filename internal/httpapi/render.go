package httpapi

import (
	"sync"
	"sync/atomic"
	"time"
)

// rendering is a body that is kept.
type rendering struct {
	body []byte
	hash uint64 // of what it stands for: its ETag
	// isDelta: the body is what has changed since the version with the hash from.
	isDelta bool
	from    uint64
	zip     atomic.Pointer[[]byte] // the body compressed, once somebody has asked for that
	work    *sync.Mutex            // the cache's
}

var _ sharedBody = (*rendering)(nil)

func newRendering(body []byte, work *sync.Mutex) *rendering {
	return &rendering{body: body, hash: hashOf(body), work: work}
}

// rendered implements sharedBody.
func (r *rendering) rendered() *rendering { return r }

// compressed returns the body compressed. The first call compresses it.
func (r *rendering) compressed() []byte {
	if zip := r.zip.Load(); zip != nil {
		return *zip
	}
	r.work.Lock()
	defer r.work.Unlock()
	if zip := r.zip.Load(); zip != nil {
		return *zip
	}
	zip := compressKept(r.body)
	r.zip.Store(&zip)
	return zip
}

// renderCache keeps the bodies that were made from one immutable value, in up to 4 formats.
// K stands for the value. The zero renderCache is ready for use.
//
// When the value changes, the bodies of the value before are kept for a moment longer.
// Requests that were there at the change may ask in any order, and one that asks for the
// older value must not drop the newer value's bodies. So the cache takes the memory of one
// value's bodies, plain and compressed, as far as somebody has asked for them. After a
// change it takes that of two values' bodies, until the first request that comes later than
// keepPrevious.
type renderCache[K comparable] struct {
	mu       sync.Mutex // held for a look, never while a body is made
	current  *edition[K]
	previous *edition[K]
	replaced time.Time // when current took the place of previous

	// work is held while a body is made or compressed: one at a time.
	work sync.Mutex
}

// keepPrevious is how long the bodies of the value before the current one are kept. The first
// request that comes later drops them.
const keepPrevious = time.Second

// edition has the bodies that are kept of one value.
type edition[K comparable] struct {
	key    K
	bodies [4]atomic.Pointer[rendering]
}

// get returns the body, in a format, of the value that key stands for. If there is none yet,
// render makes it.
//
// A caller that comes while a body is made waits. One body that is made for all callers is
// ready sooner than many that are made at the same time.
func (c *renderCache[K]) get(key K, format int, render func() []byte) *rendering {
	kept := &c.edition(key).bodies[format]
	if r := kept.Load(); r != nil {
		return r
	}
	c.work.Lock()
	defer c.work.Unlock()
	if r := kept.Load(); r != nil {
		return r
	}
	r := newRendering(render(), &c.work)
	kept.Store(r)
	return r
}

// edition returns the edition of a value. It makes a new one if there is none.
func (c *renderCache[K]) edition(key K) *edition[K] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		c.current = &edition[K]{key: key}
	}
	if c.previous != nil && time.Since(c.replaced) > keepPrevious {
		c.previous = nil
	}
	switch {
	case c.current.key == key:
		return c.current
	case c.previous != nil && c.previous.key == key:
		return c.previous
	}
	c.previous, c.current, c.replaced = c.current, &edition[K]{key: key}, time.Now()
	return c.current
}
