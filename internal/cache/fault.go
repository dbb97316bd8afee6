package cache

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// Faults. A child of a directory that may not be read, or does not parse, exists: what it
// says is not known, which is not the same as nothing. Its last good value goes on being
// served, STALE, as old as it is. If there never was one, all answers that would need it are
// refused, and no others: an answer may need one child, while a list of all children needs
// each of them.
//
// An operator can accept that a znode cannot be read: then answers are given as if
// it held nothing. That is for the bytes that it holds then. Once other ones have
// been written that cannot be read either, it counts again.

// fault says why what a znode holds cannot be served. The zero value is none.
type fault struct {
	err error
	// since is the last instant at which the last good value was what the znode held;
	// where there is none, at which the set was known without the znode. 0 is never.
	since instant
	// accepted: an operator goes on without it.
	accepted bool
	// unwatched: no event tells when it can be read.
	unwatched bool
}

// passes reports whether an error is the session's and not the znode's.
func passes(err error) bool {
	return err != nil && (transient(err) || errors.Is(err, zk.ErrClosed) || errors.Is(err, zk.ErrAuthFailed))
}

// tells reports whether an answer to a read says anything of the znode itself.
func tells(err error) bool {
	return err == nil || errors.Is(err, zk.ErrNoNode) || errors.Is(err, zk.ErrNoAuth)
}

// spoil notes that a child holds bytes that cannot be served, which zxid wrote; 0 is
// unknown. v.mu is held.
func (s *set) spoil(name string, n *node, err error, zxid int64) {
	f := fault{err: err, since: n.fault.since, accepted: n.fault.accepted && zxid == n.read}
	if f.since == 0 && !f.accepted && (n.value != nil || s.whole) {
		if f.since = n.trueUntil(); f.since == 0 {
			f.since = s.v.outdated // no event has told of it
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
		return fmt.Errorf("%s: %w; answers go on without it, as was accepted", path, n.fault.err)
	case n.value == nil:
		return fmt.Errorf("%s exists and has never been read: %w; mend it, or POST /admin/accept%s to go on without it", path, n.fault.err, path)
	default:
		return fmt.Errorf("%s: %w; its last good value is served: mend it, or POST /admin/accept%s to go on without it", path, n.fault.err, path)
	}
}

// unlistable says why it is not known which children there are.
func (s *set) unlistable() error {
	return fmt.Errorf("what is in %s is not known: %w; mend it", s.dir, s.fault.err)
}

// acceptFault lets answers be given without a child that cannot be read, or with
// nothing in place of its last good value. v.mu is held.
func (s *set) acceptFault(name string, n *node) {
	f := fault{err: n.fault.err, unwatched: n.fault.unwatched, accepted: true}
	n.accept(nil, nil, 0)
	n.fault = f
	s.v.c.problems.update(s.path(name), s.explained(name, n), n.read, 0)
}

// settle notes once everything has been known at the same time. v.mu is held.
func (s *set) settle() {
	if s.whole || !s.listed {
		return
	}
	for _, n := range s.nodes {
		if n.value == nil && !n.fault.accepted {
			return
		}
	}
	s.whole = true
}

// doubts are what is not known of the set: its faults, and what the shrink guard
// holds back. v.mu is held.
func (s *set) doubts() discovery.Doubts {
	var all []discovery.Doubt
	add := func(name string, n *node, since instant, reason error) {
		all = append(all, discovery.Doubt{
			Name: name, Reason: reason.Error(), Held: n.value != nil, Since: s.v.c.timeOf(since), Zxid: n.zxid, Accepted: n.fault.accepted,
		})
	}
	for name, n := range s.nodes {
		switch {
		case n.fault.err != nil:
			add(name, n, n.fault.since, s.explained(name, n))
		case n.guardedSince != 0:
			add(name, n, n.guardedSince, n.guardErr)
		}
	}
	for name, n := range s.served {
		add(name, n, s.lost[name].at, s.lost[name].why)
	}
	if s.fault.err != nil {
		all = append(all, discovery.Doubt{Reason: s.unlistable().Error(), Held: s.whole, Since: s.v.c.timeOf(s.fault.since), Zxid: s.accepted})
	}
	if !s.whole && !slices.ContainsFunc(all, func(d discovery.Doubt) bool { return d.Since.IsZero() && !d.Accepted }) {
		all = append(all, discovery.Doubt{Reason: fmt.Sprintf("not all of %s has been read yet", s.dir)})
	}
	return discovery.NewDoubts(all)
}

// faults counts what has never been read, the list of children included, and what is
// served as it was.
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

// neverRead are the paths of what keeps the set from being known: its own where it
// cannot be listed, or is no more than being read. v.mu is held.
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
		paths = append(paths, s.dir) // what there is of it is being read
	}
	return paths
}

// timeOf is the time of an instant; the zero time for 0.
func (c *Cache) timeOf(at instant) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return c.start.Add(time.Duration(at) - 1)
}
