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

// view is a [discovery.View] without its type of value, or one directory of a
// [discovery.Tree]. Its sets, one for each directory, change on the session's dispatcher
// goroutine. Another goroutine builds and publishes values, so that building a large one does
// not hold up events, and changes that come quickly share one. That goroutine exists while
// there is something to build, because a tree may have many thousand directories.
type view struct {
	c         *Cache
	name      string
	essential bool // a start waits for its lists of children
	// branch is what a directory of a tree has besides; nil for other views.
	branch *branch
	// session lists the children of the directories.
	session *session
	sets    []*set
	// build makes the next value and stores it; changes are the topics of what is new in
	// it. drop forgets the value.
	build func(discovery.Moment) (changes func() []discovery.Topic)
	drop  func()
	// learntAt is when the first change was learnt of that the next value will hold, in
	// nanoseconds of Unix time; 0 if there is none.
	learntAt atomic.Int64

	// dirty is the doubt about the published value because it lacks something: a change is
	// being read, a newer value is being built, or the session was lost. What was read and
	// cannot be served is part of the value itself; see set.doubts. It changes under mu.
	dirty atomic.Int64 // a doubt
	// epochs vouch for the value: first the epoch of the view's own session, which lists the
	// children, then those of further sessions that carry watches of children. The slice is
	// replaced, under mu.
	epochs atomic.Pointer[[]*epoch]

	mu sync.Mutex
	// version counts changes of the sets. published is the version that the value has, and
	// pending the first version whose outcome the value lacks.
	version, published, pending uint64
	// outdated is the last instant at which the published value was true, as it was known
	// at the last change; moved is the same for the first change since the sets were read
	// for the value that is being built.
	outdated, moved instant
	// lost: some of what was read in an earlier session, or comes from a snapshot, has not
	// been read again.
	lost bool
	// failure is the error of the last read that failed, and failures counts them.
	failure  error
	failures uint64
	// changed is closed, and made anew, at every publication and failure.
	changed chan struct{}
	// building: a goroutine builds values. again: there is another change to build one of.
	building, again bool

	checking shared
	// nextCheck is when the next check may begin. Under mu.
	nextCheck instant
}

// init gives the view its session.
func (v *view) init(s *session) {
	v.session = s
	v.changed = make(chan struct{})
	v.epochs.Store(&[]*epoch{s.epoch.Load()})
}

// onReady reads again what no watch of the session holds true any more.
func (v *view) onReady(on *session, epochIsNew bool) {
	for _, s := range v.sets {
		s.refresh(on, epochIsNew)
	}
	if len(v.sets) == 0 {
		v.change(func() {})
	}
	v.mu.Lock()
	if slices.ContainsFunc(*v.epochs.Load(), func(e *epoch) bool { return e.session == on }) {
		v.vouch(on) // a child that is unread is known to be, so that nothing vouches for it
	}
	v.mu.Unlock()
}

// vouch makes the session's present epoch one of those that vouch for the value, in place of
// an earlier one. v.mu is held.
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

// ended is when the first of the epochs that vouch for the value ended; 0 if none has.
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

// outdate notes, before a read that will bring the sets up to date, that they are known to
// lack something. f makes the same note in the set or the node, under v.mu.
func (v *view) outdate(f func()) { v.outdateSince(0, f) }

// outdateSince is outdate if it is known that the published value was last true at an instant;
// 0 is not known.
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

// change makes a change to the sets and asks for a new value.
func (v *view) change(f func()) {
	v.outdate(func() {
		f()
		for _, s := range v.sets {
			s.noteWhole()
		}
	})
	v.mu.Lock()
	v.again = true
	begin := !v.building && !v.c.isClosed.Load()
	v.building = v.building || begin
	v.mu.Unlock()
	if begin {
		v.c.stopped.Go(v.run)
	}
}

// submit gives a session a read. If an outage cuts the read short, the set stays unlisted, or
// the node unread, and onReady reads it again.
func (v *view) submit(on *session, read func(done func(error))) {
	on.submit(&viewRead{v: v, on: on, read: read})
}

type viewRead struct {
	v    *view
	on   *session
	read func(done func(error))
}

func (r *viewRead) issue() {
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

func (r *viewRead) fail(err error) { r.v.fail(err) }

// fail tells those who wait for the first value, or for a fresh one, why there is none.
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

// lag says since when what was read last is not all that there is, and at which version of the
// view that was noticed. The zero value says that nothing is missing.
type lag struct {
	since   instant
	version uint64
}

// lagging is a lag that begins with the change that is being made. v.mu is held.
func (v *view) lagging() lag { return lag{v.outdated, v.version} }

// earlier is the earlier of two instants that are not 0.
func earlier(a, b instant) instant {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// behind returns the earliest instant and the lowest version of all lags, and whether there is
// a lag: something is being read, or will be once its session is back. v.mu is held.
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

// run publishes a value, and goes on as long as there are changes that it lacks.
func (v *view) run() {
	for {
		v.mu.Lock()
		if !v.again || v.c.isClosed.Load() {
			v.building = false
			v.mu.Unlock()
			return
		}
		v.again = false
		version := v.version
		most, behind := v.behind()
		if !behind {
			most.version = version + 1
			v.lost = false
		}
		if v.holds() {
			v.announce() // for those who cannot wait
			v.mu.Unlock()
			continue
		}
		v.moved = 0
		complete := !behind || v.published > 0
		var m discovery.Moment
		if complete {
			m = v.moment()
		}
		v.mu.Unlock()
		if !complete {
			continue
		}
		v.publish(m)
		v.mu.Lock()
		v.published, v.pending = version, most.version
		if !behind || most.since != 0 {
			// There may always be a change while a value is built, so the value is as old as
			// the first change that it lacks.
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

// meta says how well the published value is known.
func (v *view) meta(now instant) discovery.Meta {
	var m discovery.Meta
	for _, e := range *v.epochs.Load() {
		m = m.Join(e.meta(doubt(v.dirty.Load()), now))
	}
	return m
}

// wait returns once a value is published: any, or, if it must be current, one that has every
// change in it that has been noticed so far.
func (v *view) wait(ctx context.Context, current bool) error {
	v.mu.Lock()
	seen, failed := v.version, v.failures
	for {
		if v.gone() {
			v.mu.Unlock()
			return errGone
		}
		ready := v.published > 0 && (!current || v.pending > seen)
		if current && !ready {
			v.letGo()
		}
		failure, changed := v.failure, v.changed
		// A caller is told of a read that has failed while the caller was waiting, and of
		// none before.
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

// waitListed waits until the children of each directory have been listed.
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

// contact is the time since it was last known what ZooKeeper holds, whether that can be served
// or not; ok is false before it first was.
func (v *view) contact() (age time.Duration, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.meta(v.c.now()).Age, v.published > 0
}

// age is the time since all of what the sets serve was last known to be true; ok is false before
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
