package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"magellan/internal/discovery"
)

// view is a snapshot made of pinned sets: the topology, or the blocklist. The
// sets change on the session's dispatcher goroutine; one goroutine of the
// view's own builds and publishes snapshots, so that a large one does not hold
// up events, and changes that come quickly share one.
type view struct {
	c       *Cache
	session *session
	sets    []*set
	// collect gathers, under mu, what a snapshot is made of; build makes and
	// stores it.
	collect func() (build func())

	// dirty is the last instant at which the published snapshot was known to be
	// what ZooKeeper holds, 0 while it still is.
	dirty atomic.Int64
	epoch atomic.Pointer[epoch]

	mu sync.Mutex
	// version counts changes of the sets; published is the one the snapshot has,
	// and pending the first whose outcome it has not.
	version, published, pending uint64
	// outdated is what was known at the last change, as in dirty; moved at the
	// first one since the snapshot was collected.
	outdated, moved instant
	// unread is dirty without what the shrink guard holds: since when what ZooKeeper
	// holds has not been known.
	unread instant
	// failure says why nothing has been published yet.
	failure error
	// changed is closed, and made anew, at every publication and failure.
	changed chan struct{}
	wake    chan struct{}
}

func (v *view) init(c *Cache, s *session, sets ...*set) {
	v.c, v.session, v.sets = c, s, sets
	for _, set := range sets {
		set.v = v
		set.nodes = map[string]*node{}
		set.lost = map[string]loss{}
	}
	v.changed = make(chan struct{})
	v.wake = make(chan struct{}, 1)
	v.epoch.Store(s.epoch.Load())
	c.stopped.Go(v.run)
}

// onReady reads again what no watch holds true any more.
func (v *view) onReady(epochIsNew bool) {
	for _, s := range v.sets {
		s.refresh(epochIsNew)
	}
	v.epoch.Store(v.session.epoch.Load())
}

func (v *view) onWatch(path string) bool {
	for _, s := range v.sets {
		if s.onWatch(path) {
			return true
		}
	}
	return false
}

// outdate notes that the sets are known to be behind, before the read that will
// bring them up to date.
func (v *view) outdate(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	last := v.epoch.Load().ended.Load()
	if last == 0 {
		last = int64(v.session.verified())
	}
	v.dirty.CompareAndSwap(0, last)
	v.version++
	v.outdated = instant(last)
	v.unread = earlier(v.unread, v.outdated)
	v.moved = earlier(v.moved, v.outdated)
	f()
}

// change makes a change to the sets and asks for a new snapshot.
func (v *view) change(f func()) {
	v.outdate(f)
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// submit gives the session a read. An outage that cuts it short leaves the set
// unlisted, or the node unread, for onReady to find.
func (v *view) submit(read func(done func(error))) {
	v.session.submit(&pinnedRead{v: v, read: read})
}

type pinnedRead struct {
	v    *view
	read func(done func(error))
}

func (r *pinnedRead) issue() {
	r.read(func(err error) {
		if err != nil {
			r.v.fail(translate(err))
		}
		r.v.session.release()
		if err != nil && transient(err) && r.v.session.live.Load() {
			// The session came back before this read was told that it had gone.
			r.v.session.submit(r)
		}
	})
}

func (r *pinnedRead) fail(err error) { r.v.fail(err) }

// fail tells those who wait for the first snapshot, or a fresh one, why there
// is none.
func (v *view) fail(err error) {
	v.mu.Lock()
	v.failure = err
	v.announce()
	v.mu.Unlock()
}

// announce wakes all who wait. v.mu is held.
func (v *view) announce() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// lag says since when what was read last is not all there is, and at which
// version that was noticed. The zero value says that it is all.
type lag struct {
	since   instant
	version uint64
}

// lagging is the lag that begins with the change that is being made. v.mu is held.
func (v *view) lagging() lag { return lag{v.outdated, v.version} }

// earlier is the earlier of two instants that are not 0.
func earlier(a, b instant) instant {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// behind returns the lag of what lags most, and whether anything does. v.mu is
// held.
func (v *view) behind() (most lag, any bool) {
	add := func(l lag) {
		if !any || l.version < most.version {
			most.version = l.version
		}
		most.since = earlier(most.since, l.since)
		any = true
	}
	for _, s := range v.sets {
		if !s.listed {
			add(s.lag)
		}
		for _, n := range s.nodes {
			if n.unread {
				add(n.lag)
			}
		}
	}
	return most, any
}

// run publishes a snapshot after every change, one at a time.
func (v *view) run() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-v.c.closing:
			return
		case <-ticker.C:
			if v.session.live.Load() {
				for _, s := range v.sets {
					s.askAgain()
				}
			}
			continue
		case <-v.wake:
		}
		v.mu.Lock()
		version := v.version
		most, behind := v.behind()
		if !behind {
			most.version = version + 1
		}
		v.moved = 0
		var build func()
		if !behind || v.published > 0 {
			build = v.collect()
		}
		v.mu.Unlock()
		if build == nil {
			continue
		}
		build()
		v.mu.Lock()
		v.published, v.pending = version, most.version
		v.failure = nil
		if !behind || most.since != 0 {
			// Changes go on while this is done, and there may always be some: the
			// snapshot is as old as the first that it has not.
			v.unread = earlier(most.since, v.moved)
			v.dirty.Store(int64(earlier(v.unread, v.heldSince())))
		}
		v.announce()
		v.mu.Unlock()
	}
}

// meta says how well the published snapshot is known.
func (v *view) meta(now instant) discovery.Meta {
	rec := record{epoch: v.epoch.Load(), since: instant(v.dirty.Load())}
	return rec.meta(now)
}

// wait returns once a snapshot is published: any, or one that holds every
// change seen so far.
func (v *view) wait(ctx context.Context, current bool) error {
	v.mu.Lock()
	if current {
		v.failure = nil
	}
	seen := v.version
	for {
		ready := v.published > 0 && (!current || v.pending > seen)
		failure, changed := v.failure, v.changed
		v.mu.Unlock()
		if ready {
			return nil
		}
		if failure != nil && (current || errors.Is(failure, ErrNoRoot)) {
			return failure
		}
		select {
		case <-changed:
		case <-v.c.closing:
			return errClosed
		case <-ctx.Done():
			if failure != nil {
				return failure
			}
			return fmt.Errorf("%w: it has not been read from ZooKeeper yet: %w", discovery.ErrUnavailable, ctx.Err())
		}
		v.mu.Lock()
	}
}

// age is the time since the snapshot was last known to be true, and contact the
// time since what ZooKeeper holds was last known, whether it is served or not.
func (v *view) age() (age, contact time.Duration, ok bool) {
	v.mu.Lock()
	published, unread := v.published > 0, v.unread
	v.mu.Unlock()
	if !published {
		return 0, 0, false
	}
	now := v.c.now()
	known := record{epoch: v.epoch.Load(), since: unread}
	return v.meta(now).Age, known.meta(now).Age, true
}
