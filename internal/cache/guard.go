package cache

import (
	"fmt"
	"time"
)

const (
	// lossWindow is how long a member that has gone counts as lost just now: a
	// set is emptied one znode after the other, and each of them is a small loss.
	lossWindow = time.Minute
	// minMembers and minEntries are the sizes below which losing more than half
	// is an ordinary change.
	minMembers = 2
	minEntries = 10
)

// DefaultShrinkGuard is what is usual for [Config].ShrinkGuard.
const DefaultShrinkGuard = 50

// The shrink guard. If a directory loses more than a part of its children within lossWindow,
// or a child more than that part of its entries at once, the guard takes that for an
// accident: what was lost goes on being served until it is back, or an operator accepts the
// loss. A directory is back when every child is, because whoever restores one child after the
// other is not done halfway. A child comes back in one write, and is back once no more than
// that part of its entries is missing. What remains is followed as ever.
//
// The guard always compares with what was accepted last. What it holds is not what ZooKeeper
// holds, so it is STALE, its age grows, and past the bound on the age of answers there is no
// answer: what was lost may have been meant to go, and clients go on with what they were given
// last rather than with something that nobody can vouch for. Answers that are made of nothing
// that is held are as good as ever.

// loss is a member that has gone.
type loss struct {
	node *node
	// at is the last instant at which the set was known to have it, noticed the
	// one at which it was known to have gone.
	at, noticed instant
	// alone: a child with so many entries that its end is a loss of its own.
	alone bool
	// why says what was lost.
	why error
}

// lose takes a member out that is no longer there, and remembers it for a while.
// v.mu is held, and dirty set.
func (s *set) lose(name string) {
	n := s.nodes[name]
	s.forget(name)
	if s.v.c.cfg.ShrinkGuard == 0 || n.value == nil {
		return
	}
	l := loss{node: n, at: n.trueUntil(), noticed: s.v.c.now()}
	if !s.listed {
		l.at = earlier(l.at, s.lag.since)
	}
	path := s.path(name)
	l.why = fmt.Errorf("%s is gone, like too many others; its last value is served: restore them, or POST /admin/accept%s", path, s.dir)
	if entries := s.entries(n.value); entries >= minEntries {
		l.alone = true
		l.why = fmt.Errorf("%s has been deleted with %d entries in it; its last content is served: restore it, or POST /admin/accept%s",
			path, entries, path)
		s.v.c.guardTripped(path, l.why, s.pzxid, n.zxid)
	}
	s.lost[name] = l
}

// regain puts a member that is listed again back in its place: with what is
// served of it, if that is so, so that what it holds now is compared with that.
// v.mu is held.
func (s *set) regain(name string) *node {
	l, was := s.lost[name]
	delete(s.lost, name)
	if was && (l.alone || s.guardedSince != 0) {
		n := l.node
		n.on, n.gone = nil, false
		n.unread, n.guardedSince, n.guardErr = true, l.at, l.why
		s.v.c.problems.resolve(s.path(name))
		return n
	}
	return &node{unread: true}
}

// judge decides, after the members have changed, whether too many have gone.
// v.mu is held.
func (s *set) judge() {
	c := s.v.c
	if s.guardedSince == 0 {
		now := c.now()
		for name, l := range s.lost {
			if !l.alone && time.Duration(now-l.noticed) > lossWindow {
				delete(s.lost, name)
			}
		}
	}
	total := len(s.nodes) + len(s.lost)
	if !s.lacksTooMany(total) {
		s.release()
		return
	}
	fresh := s.guardedSince == 0
	for _, l := range s.lost {
		if s.guardedSince == 0 || l.at < s.guardedSince {
			s.guardedSince = l.at
		}
	}
	err := fmt.Errorf("%d of %d members are gone since too many went at once; they go on being served: restore all of them, or POST /admin/accept%s", len(s.lost), total, s.dir)
	if fresh {
		c.guardTripped(s.dir, err, s.pzxid, s.accepted)
	} else {
		c.problems.update(s.dir, err, s.pzxid, s.accepted)
	}
}

// lacksTooMany reports whether too many of the set's members have gone: any at all while
// the guard holds some. v.mu is held.
func (s *set) lacksTooMany(total int) bool {
	if s.guardedSince == 0 {
		return total >= minMembers && s.v.c.cfg.ShrinkGuard > 0 && len(s.lost)*100 > s.v.c.cfg.ShrinkGuard*total
	}
	for _, l := range s.lost {
		if !l.alone { // one that is alone is held by itself
			return true
		}
	}
	return false
}

// release lets the set be what ZooKeeper says it is. v.mu is held.
func (s *set) release() {
	s.accepted = s.pzxid
	if s.guardedSince != 0 {
		s.guardedSince = 0
		s.v.c.problems.resolve(s.dir)
	}
}

// shrinks reports whether a member's new value has lost too much of the old one.
func (s *set) shrinks(was, is any) bool {
	if was == nil || s.v.c.cfg.ShrinkGuard == 0 {
		return false
	}
	old, now := s.entries(was), s.entries(is)
	return old >= minEntries && (old-now)*100 > s.v.c.cfg.ShrinkGuard*old
}

// holdBack keeps what a member has served, which was true last at the given instant, and
// its new value for who accepts it. v.mu is held.
func (s *set) holdBack(name string, n *node, value any, data []byte, zxid int64, at instant) {
	tripped := n.pending == nil
	if n.guardedSince == 0 {
		n.guardedSince = at
	}
	n.pending, n.pendingData, n.pendingZxid = value, data, zxid
	path := s.path(name)
	n.guardErr = fmt.Errorf("%s has %d entries left of %d; the last good ones are served: restore them, or POST /admin/accept%s",
		path, s.entries(n.pending), s.entries(n.value), path)
	if tripped {
		s.v.c.guardTripped(path, n.guardErr, zxid, n.zxid)
	} else {
		s.v.c.problems.update(path, n.guardErr, zxid, n.zxid)
	}
}

// served yields what is served in place of members that have gone.
func (s *set) served(yield func(name string, n *node) bool) {
	for name, l := range s.lost {
		if (s.guardedSince != 0 || l.alone) && !yield(name, l.node) {
			return
		}
	}
}

// Accept lets answers follow what ZooKeeper holds at path although that looks like an
// accident. Path is a directory that has lost children, a child that has lost entries, or
// a child that cannot be read, which then counts as nothing until other bytes are written
// there. Accept reports whether there was anything to accept.
func (c *Cache) Accept(path string) (accepted bool) {
	s, child := c.views.setAt(path)
	if s == nil {
		return false
	}
	s.v.change(func() {
		switch n := s.nodes[child]; {
		case child == "":
			if accepted = s.guardedSince != 0; !accepted {
				return
			}
			for name := range s.lost {
				delete(s.lost, name)
				c.problems.resolve(s.path(name))
			}
			s.release()
		case s.lost[child].alone:
			delete(s.lost, child)
			s.judge()
			accepted = true
		case n != nil && n.fault.err != nil && !n.fault.accepted:
			s.acceptFault(child, n) // its problem stays
			accepted = true
			return
		case n != nil && n.pending != nil:
			n.accept(n.pending, n.pendingData, n.pendingZxid)
			accepted = true
		}
		if accepted {
			c.problems.resolve(path)
		}
	})
	if accepted {
		c.log.Warn("what ZooKeeper holds was accepted", "path", path)
	}
	return accepted
}

// guardTripped makes a problem of a loss and counts it.
func (c *Cache) guardTripped(path string, err error, zxid, served int64) {
	c.metrics.guardTrips.Inc()
	c.problems.report(path, err, zxid, served)
}

// guarded is the number of directories and children of which the guard serves what ZooKeeper no
// longer holds.
func (c *Cache) guarded() (n int) {
	for _, v := range c.views.all {
		v.mu.Lock()
		for _, s := range v.sets {
			if s.guardedSince != 0 {
				n++
			}
			for _, l := range s.lost {
				if l.alone {
					n++
				}
			}
			for _, one := range s.nodes {
				if one.pending != nil {
					n++
				}
			}
		}
		v.mu.Unlock()
	}
	return n
}
