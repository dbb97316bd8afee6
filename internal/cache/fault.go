package cache

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// Faults. If a child of a directory may not be read, or does not parse, the child still exists:
// its value is not known, which is not the same as no value. The cache goes on serving its last
// good value, as STALE and with its age. If there never was one, answers that need the child are
// refused. Other answers are not: an answer may need one child only, while a list of all children
// needs each of them.
//
// An operator can accept that a znode cannot be read. Then answers are given as if the znode held
// nothing, as long as it holds the same bytes. If other bytes are written that cannot be read
// either, the znode has a fault again that is not accepted.

// fault says why what a znode holds cannot be served. The zero value is no fault.
type fault struct {
	err error
	// since is the last instant at which the last good value was what the znode held. If
	// there is no good value, it is the last instant at which all of the set was known and
	// this znode was no part of it. 0 means that there is no such instant.
	since instant
	// accepted: an operator has accepted that the znode cannot be read.
	accepted bool
	// unwatched: no event will announce that the znode can be read again.
	unwatched bool
}

// passes reports whether an error is due to the session and not to the znode, so that a later
// read may succeed.
func passes(err error) bool {
	return err != nil && (transient(err) || errors.Is(err, zk.ErrClosed) || errors.Is(err, zk.ErrAuthFailed))
}

// tells reports whether a read that ended in err has found out about the znode itself.
func tells(err error) bool {
	return err == nil || errors.Is(err, zk.ErrNoNode) || errors.Is(err, zk.ErrNoAuth)
}

// spoil notes that a child holds bytes that cannot be served. zxid is the transaction that wrote
// them, 0 if that is unknown. v.mu is held.
func (s *set) spoil(name string, n *node, err error, zxid int64) {
	f := fault{err: err, since: n.fault.since, accepted: n.fault.accepted && zxid == n.read}
	if f.since == 0 && !f.accepted && (n.value != nil || s.whole) {
		if f.since = n.trueUntil(); f.since == 0 {
			f.since = s.v.outdated // no event has announced the change
		}
	}
	n.fault, n.read, n.unread = f, zxid, false
	s.v.c.problems.report(s.path(name), s.explained(name, n), zxid, n.zxid)
}

// explained says what is wrong with a child, and what to do about it.
func (s *set) explained(name string, n *node) error {
	path := s.path(name)
	switch {
	case n.fault.accepted:
		return fmt.Errorf("%s: %w; this was accepted, so answers are given without it", path, n.fault.err)
	case n.value == nil:
		return fmt.Errorf("%s exists and has never been read: %w; repair it, or POST /admin/accept%s to answer without it", path, n.fault.err, path)
	default:
		return fmt.Errorf("%s: %w; its last good value is served: repair it, or POST /admin/accept%s to answer without it", path, n.fault.err, path)
	}
}

// unlistable says why it is not known which children there are.
func (s *set) unlistable() error {
	return fmt.Errorf("what is in %s is not known: %w; repair it", s.dir, s.fault.err)
}

// acceptFault accepts that a child cannot be read. From then on answers are given without the
// child, even if it has a last good value. v.mu is held.
func (s *set) acceptFault(name string, n *node) {
	f := fault{err: n.fault.err, unwatched: n.fault.unwatched, accepted: true}
	n.accept(nil, nil, 0)
	n.fault = f
	s.v.c.problems.update(s.path(name), s.explained(name, n), n.read, 0)
}

// noteWhole sets whole once all of the set is known at the same time. v.mu is held.
func (s *set) noteWhole() {
	if s.whole || !s.listed {
		return
	}
	for _, n := range s.nodes {
		switch {
		case s.v.branch == nil:
			if n.value == nil && !n.fault.accepted {
				return
			}
		case n.unread && n.value == nil && n.branch == nil:
			// In a tree a record that cannot be served is a doubt about that record only.
			return
		}
	}
	s.whole = true
}

// doubts returns the doubts about the set: its faults, and what the shrink guard serves in place of
// what ZooKeeper holds. v.mu is held.
func (s *set) doubts() discovery.Doubts {
	var all []discovery.Doubt
	add := func(name string, n *node, since instant, reason error, gone bool) {
		all = append(all, discovery.Doubt{
			Name: name, Reason: reason.Error(), Held: n.value != nil, Since: s.v.c.timeOf(since), Zxid: n.zxid, Accepted: n.fault.accepted, Gone: gone,
		})
	}
	for name, n := range s.nodes {
		switch {
		case n.fault.err != nil:
			add(name, n, n.fault.since, s.explained(name, n), false)
		case n.guardedSince != 0:
			// Unless it holds back newer bytes, the child had gone, is back and has not been read yet.
			add(name, n, n.guardedSince, n.guardErr, n.pending == nil)
		}
	}
	for name, n := range s.served {
		if n.value != nil { // a directory has doubts of its own
			add(name, n, s.lost[name].at, s.lost[name].why, true)
		}
	}
	if s.fault.err != nil {
		all = append(all, discovery.Doubt{Reason: s.unlistable().Error(), Held: s.whole, Since: s.v.c.timeOf(s.fault.since), Zxid: s.accepted})
	}
	if !s.whole && !slices.ContainsFunc(all, func(d discovery.Doubt) bool { return d.Since.IsZero() && !d.Accepted }) {
		all = append(all, discovery.Doubt{Reason: fmt.Sprintf("not all of %s has been read yet", s.dir)})
	}
	return discovery.NewDoubts(all)
}

// faults returns how many children have never been read, with one more if the children have never
// been listed, and of how many children the last good value is served.
func (s *set) faults() (unread, stale int) {
	s.v.mu.Lock()
	defer s.v.mu.Unlock()
	if s.fault.err != nil && s.fault.since == 0 {
		unread++
	}
	for _, n := range s.nodes {
		switch {
		case n.fault.err == nil || n.fault.accepted:
		case n.value == nil:
			unread++
		default:
			stale++
		}
	}
	return unread, stale
}

// neverRead returns the paths of the znodes because of which the set was never known as a whole. The
// directory's own path is among them if its children cannot be listed, or if some of the set is
// still being read and there is no other reason. v.mu is held.
func (s *set) neverRead() (paths []string) {
	if s.whole {
		return nil
	}
	if s.fault.err != nil {
		paths = append(paths, s.dir)
	}
	for name, n := range s.nodes {
		if n.value == nil && n.fault.err != nil && !n.fault.accepted {
			paths = append(paths, s.path(name))
		}
	}
	if len(paths) == 0 {
		paths = append(paths, s.dir) // some of the set is still being read
	}
	return paths
}

// timeOf returns the time of an instant, and the zero time for 0.
func (c *Cache) timeOf(at instant) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return c.start.Add(time.Duration(at) - 1)
}
