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

// compressed returns the body compressed, which is done once for all who ask.
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

// renderCache keeps the bodies made from one immutable value, which K stands
// for, in up to 4 formats. The zero renderCache is ready for use.
//
// The bodies of the value before are kept for a moment more: requests that were
// there when the value changed do not take their turns in order, and one that asks
// for the older value must not throw the newer one's bodies away. So the memory is
// that of one value's bodies, as they are and compressed, as far as somebody asked
// for them; and for keepPrevious after a change, or until the next request if that is
// later, that of two.
type renderCache[K comparable] struct {
	mu       sync.Mutex // held for a look, never while a body is made
	current  *edition[K]
	previous *edition[K]
	replaced time.Time // when previous was current last

	// work is held while a body is made or compressed: one at a time.
	work sync.Mutex
}

// keepPrevious is how long the bodies of a value are kept that is no longer the
// last one asked for. The request that drops them is the first that comes later.
const keepPrevious = time.Second

// edition is what is kept of one value.
type edition[K comparable] struct {
	key    K
	bodies [4]atomic.Pointer[rendering]
}

// get returns the body of the value that key stands for in a format, made by render
// if need be.
//
// Who comes while a body is made waits: a body made once for all is sooner there
// than many made at the same time.
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

// edition returns what is kept of a value, a new edition if that is nothing.
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
