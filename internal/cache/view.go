package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

	// dirty is the doubt about the published snapshot as far as it is not all that was
	// read: a change is being read, or a snapshot is being made of it, or the session
	// was lost. What was read and cannot be served is part of the snapshot itself; see
	// set.doubts. It changes under mu.
	dirty atomic.Int64 // a doubt
	// epochs vouch for the snapshot: that of the view's own session first, which
	// lists the sets, then those of further sessions that carry the watches of
	// members. The slice is replaced, under mu.
	epochs atomic.Pointer[[]*epoch]

	mu sync.Mutex
	// version counts changes of the sets; published is the one the snapshot has,
	// and pending the first whose outcome it has not.
	version, published, pending uint64
	// outdated is what was known at the last change, as in dirty; moved at the
	// first one since the snapshot was collected.
	outdated, moved instant
	// lost: what was read in an earlier session, or comes from a snapshot on disk, has
	// not all been read again.
	lost bool
	// failure says why a read has failed last, and failures counts how many have.
	failure  error
	failures uint64
	// changed is closed, and made anew, at every publication and failure.
	changed chan struct{}
	wake    chan struct{}

	checking shared
	// nextCheck is when the next check may begin. Under mu.
	nextCheck instant
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
	v.epochs.Store(&[]*epoch{s.epoch.Load()})
	c.stopped.Go(v.run)
}

// onReady reads again what no watch of the session holds true any more.
func (v *view) onReady(on *session, epochIsNew bool) {
	for _, s := range v.sets {
		s.refresh(on, epochIsNew)
	}
	v.mu.Lock()
	if slices.ContainsFunc(*v.epochs.Load(), func(e *epoch) bool { return e.session == on }) {
		v.vouch(on) // what is unread is nobody's to vouch for, and is known to be unread
	}
	v.mu.Unlock()
}

// vouch has the session's present epoch vouch for what it carries. v.mu is held.
func (v *view) vouch(s *session) {
	all, is := *v.epochs.Load(), s.epoch.Load()
	at := slices.IndexFunc(all, func(e *epoch) bool { return e.session == s })
	if at >= 0 && all[at] == is {
		return
	}
	all = slices.Clone(all)
	if at >= 0 {
		all[at] = is
	} else {
		all = append(all, is)
	}
	v.epochs.Store(&all)
}

// ended is when the first of the epochs ended that vouch for the snapshot, 0 while all
// go on.
func (v *view) ended() (at instant) {
	for _, e := range *v.epochs.Load() {
		at = earlier(at, instant(e.ended.Load()))
	}
	return at
}

// verified is the last instant at which all that is watched was known to be what
// ZooKeeper holds.
func (v *view) verified() (at instant) {
	for _, e := range *v.epochs.Load() {
		at = earlier(at, e.session.verified())
	}
	return at
}

func (v *view) onWatch(on *session, path string) bool {
	for _, s := range v.sets {
		if s.onWatch(on, path) {
			return true
		}
	}
	return false
}

// outdate notes that the sets are known to be behind, before the read that will
// bring them up to date.
func (v *view) outdate(f func()) { v.outdateSince(0, f) }

// outdateSince is outdate where it is known since when: what is published has not been
// known to be true after at. 0 is not known.
func (v *view) outdateSince(at instant, f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	last := v.ended()
	if last == 0 {
		last = v.verified()
	} else {
		v.lost = true
	}
	last = earlier(last, at)
	is := doubt(v.dirty.Load())
	if is == 0 {
		is = newDoubt(last, true)
	} else if at != 0 {
		is = newDoubt(earlier(is.since(), at), is.reading())
	}
	if v.lost {
		is = is.stuck()
	}
	v.dirty.Store(int64(is))
	v.version++
	v.outdated = last
	v.moved = earlier(v.moved, v.outdated)
	f()
}

// change makes a change to the sets and asks for a new snapshot.
func (v *view) change(f func()) {
	v.outdate(func() {
		f()
		for _, s := range v.sets {
			s.settle()
		}
	})
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// submit gives a session a read. An outage that cuts it short leaves the set
// unlisted, or the node unread, for onReady to find.
func (v *view) submit(on *session, read func(done func(error))) {
	on.submit(&pinnedRead{v: v, on: on, read: read})
}

type pinnedRead struct {
	v    *view
	on   *session
	read func(done func(error))
}

func (r *pinnedRead) issue() {
	r.read(func(err error) {
		if err != nil {
			r.v.fail(translate(err))
		}
		r.on.release()
		if err != nil && transient(err) && r.on.live.Load() {
			// The session came back before this read was told that it had gone.
			r.on.submit(r)
		}
	})
}

func (r *pinnedRead) fail(err error) { r.v.fail(err) }

// fail tells those who wait for the first snapshot, or a fresh one, why there
// is none.
func (v *view) fail(err error) {
	v.mu.Lock()
	v.failure = err
	v.failures++
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

// behind returns the lag of what lags most, and whether anything does: is being
// read, that is, or will be once the session is back. v.mu is held.
func (v *view) behind() (most lag, any bool) {
	add := func(l lag) {
		if !any || l.version < most.version {
			most.version = l.version
		}
		most.since = earlier(most.since, l.since)
		any = true
	}
	for _, s := range v.sets {
		if !s.listed && s.fault.err == nil {
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
			for _, s := range v.sets {
				s.askAgain()
			}
			continue
		case <-v.wake:
		}
		v.mu.Lock()
		version := v.version
		most, behind := v.behind()
		if !behind {
			most.version = version + 1
			v.lost = false
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
		if !behind || most.since != 0 {
			// Changes go on while this is done, and there may always be some: the
			// snapshot is as old as the first that it has not.
			is := doubt(0)
			if at := earlier(most.since, v.moved); at != 0 {
				is = newDoubt(at, !v.lost)
			}
			v.dirty.Store(int64(is))
		}
		v.announce()
		v.mu.Unlock()
	}
}

// meta says how well the published snapshot is known.
func (v *view) meta(now instant) discovery.Meta {
	var m discovery.Meta
	for _, e := range *v.epochs.Load() {
		rec := record{epoch: e, doubt: doubt(v.dirty.Load())}
		m = m.Join(rec.meta(now))
	}
	return m
}

// wait returns once a snapshot is published: any, or one that holds every
// change seen so far.
func (v *view) wait(ctx context.Context, current bool) error {
	v.mu.Lock()
	seen, failed := v.version, v.failures
	for {
		ready := v.published > 0 && (!current || v.pending > seen)
		failure, changed := v.failure, v.changed
		// What has failed before is no answer to who comes now, and who waits already
		// gets it though others have come since.
		now := v.failures > failed
		v.mu.Unlock()
		if ready {
			return nil
		}
		if failure != nil && (current && now || !current && errors.Is(failure, ErrNoRoot)) {
			return failure
		}
		select {
		case <-changed:
		case <-v.c.closing:
			return errClosed
		case <-ctx.Done():
			if failure != nil && (now || !current) {
				return failure
			}
			return fmt.Errorf("%w: it has not been read from ZooKeeper yet: %w", discovery.ErrUnavailable, ctx.Err())
		}
		v.mu.Lock()
	}
}

// waitListed waits until each set has been listed.
func (v *view) waitListed(ctx context.Context) error {
	for {
		v.mu.Lock()
		var denied error
		for _, s := range v.sets {
			if s.fault.err != nil && !s.whole {
				denied = s.unlistable()
			}
		}
		changed := v.changed
		v.mu.Unlock()
		if denied == nil {
			return nil
		}
		select {
		case <-changed:
		case <-v.c.closing:
			return errClosed
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", discovery.ErrUnavailable, denied)
		}
	}
}

// contact is the time since what ZooKeeper holds was last known, whether that can be
// served or not; ok is false before it first was.
func (v *view) contact() (age time.Duration, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.meta(v.c.now()).Age, v.published > 0
}

// age is the time since all of the sets was last known to be true; ok is false before
// it first was.
func (v *view) age() (age time.Duration, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.published == 0 {
		return 0, false
	}
	age = v.meta(v.c.now()).Age
	for _, s := range v.sets {
		if !s.whole {
			return 0, false
		}
		if whole := s.doubts().Whole(); whole != nil {
			age = max(age, time.Since(whole.Since))
		}
	}
	return age, true
}
