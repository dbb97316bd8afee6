package cache

import (
	"errors"
	"fmt"
	"time"
)

const (
	// defaultLossWindow is how long a child that has gone counts towards a loss, because a
	// directory may be emptied one znode after the other, each of which is a small loss.
	defaultLossWindow = time.Minute
	// minMembers and minEntries are the sizes below which the guard takes every loss for an
	// ordinary change.
	minMembers = 2
	minEntries = 10
)

// DefaultShrinkGuard is the usual value of [Config].ShrinkGuard, in percent.
const DefaultShrinkGuard = 50

// The shrink guard. Config.ShrinkGuard is a part, in percent. If a directory loses more than this
// part of its children within a minute, or a child loses more than this part of its entries at
// once, the guard takes the loss for an accident. The cache goes on serving what was lost until it
// is back, or until an operator accepts the loss. The children of a directory are back when every
// child is, because somebody who restores one child after the other is not done halfway. The entries
// of a child come back in one write. They are back once no more than this part of them is missing.
// The cache follows all other changes as usual.
//
// In a tree other children may come in the place of those that have gone, because in a registry names
// do not come back: each that comes counts as the return of one. And if no more than the allowed part
// is missing, and none has come or gone for a minute, the rest has gone for good. See treeguard.go for
// the guard of the whole tree, and treeverify.go for what is no accident.
//
// The guard always compares with what was accepted last. What the guard serves is not what ZooKeeper
// holds, so it is STALE and its age grows. Once it is older than the bound on the age of answers,
// there is no answer: the loss may have been intended, and clients should rather keep the last answer
// that they got than use one for which nothing vouches. Answers that are made of nothing that the
// guard serves are not affected.

// loss is a child that has gone.
type loss struct {
	node *node
	// at is the last instant at which the child was known to be there. noticed is the
	// instant at which the cache noticed that it has gone.
	at, noticed instant
	// alone: the child had so many entries that it is guarded even if no other child has
	// gone.
	alone bool
	// why says what was lost.
	why error
	// checked: it has been asked whether the owner lives. See treeverify.go.
	checked bool
}

// lose removes a child that does not exist any more from the set's nodes, and adds it to lost. v.mu
// is held, and dirty is set.
func (s *set) lose(name string) {
	n := s.nodes[name]
	counts := s.v.c.cfg.ShrinkGuard != 0 && s.counts(n)
	s.forget(name)
	n.hide()
	// While the guard serves others, no newer list is accepted: the transaction of the answers must
	// not go back when this child leaves them.
	s.accepted = max(s.accepted, n.zxid)
	if !counts {
		n.drop()
		return
	}
	l := loss{node: n, at: n.trueUntil(), noticed: s.v.c.now()}
	if !s.listed {
		l.at = earlier(l.at, s.lag.since)
	}
	path := s.path(name)
	l.why = fmt.Errorf("%s is gone, and so are too many others; its last value is served: restore them, or POST /admin/accept%s", path, s.dir)
	if entries := s.def.CountEntries(n.value); entries >= minEntries {
		l.alone = true
		l.why = fmt.Errorf("%s has been deleted with %d entries in it; its last content is served: restore it, or POST /admin/accept%s",
			path, entries, path)
		s.v.c.guardTripped(path, l.why, s.pzxid, n.zxid)
	}
	s.lost[name] = l
	if s.v.branch != nil {
		s.order, s.moved = append(s.order, name), l.noticed
		s.v.branch.t.lost()
	}
}

// regain returns the node of a child that is listed, and was not before. If the guard serves the
// child, the node has the value that is served, so that the value that is read next is compared with
// it. v.mu is held.
func (s *set) regain(name string) *node {
	l, was := s.lost[name]
	delete(s.lost, name)
	s.moved = s.v.c.now()
	if was && (l.alone || s.guardedSince != 0) {
		n := l.node
		n.on, n.gone = nil, false
		n.unread, n.guardedSince, n.guardErr = true, l.at, l.why
		s.v.c.problems.resolve(s.path(name))
		return n
	}
	if was {
		l.node.drop()
	} else if s.v.branch != nil {
		s.replace()
	}
	return &node{unread: true}
}

// judge decides whether too many children have gone. It is called after the children have changed.
// v.mu is held.
func (s *set) judge() {
	c := s.v.c
	s.purge()
	total := len(s.nodes) + len(s.lost)
	if !s.lacksTooMany(total) {
		s.release()
		return
	}
	fresh := s.guardedSince == 0
	for _, l := range s.lost {
		l.node.show()
		if s.guardedSince == 0 || l.at < s.guardedSince {
			s.guardedSince = l.at
		}
	}
	if fresh && s.v.branch != nil {
		s.v.branch.t.judgeNow() // which finds out who has gone
	}
	if s.guardedByTree() {
		return // the problem is the tree's
	}
	err := fmt.Errorf("%d of %d members are gone; too many of them went at once, so all of these go on being served: restore all of them, or POST /admin/accept%s", len(s.lost), total, s.dir)
	if fresh {
		c.guardTripped(s.dir, err, s.pzxid, s.accepted)
	} else {
		c.problems.update(s.dir, err, s.pzxid, s.accepted)
	}
}

// lacksTooMany reports whether too many of total children have gone. While the guard serves
// children, one that has gone is too many. v.mu is held.
func (s *set) lacksTooMany(total int) bool {
	if s.guardedByTree() || s.guardedSince != 0 && s.v.branch != nil && !s.calm() {
		return len(s.lost) > 0
	}
	if s.guardedSince == 0 || s.v.branch != nil {
		return total >= minMembers && s.v.c.cfg.ShrinkGuard > 0 && len(s.lost)*100 > s.v.c.cfg.ShrinkGuard*total
	}
	for _, l := range s.lost {
		if !l.alone { // a child that is alone is guarded by itself
			return true
		}
	}
	return false
}

// calm reports whether no child of a tree's directory has gone or come for a while. Who restores one
// after the other is done then, or has given the rest up. v.mu is held.
func (s *set) calm() bool {
	return s.moved == 0 || time.Duration(s.v.c.now()-s.moved) > s.v.c.cfg.lossWindow
}

// guardedByTree reports whether the guard of the tree that the set is in has tripped.
func (s *set) guardedByTree() bool { return s.v.branch != nil && s.v.branch.t.guard.tripped.Load() }

// release ends the guarding of the set: answers follow the list of children again. v.mu is held.
func (s *set) release() {
	s.accepted = s.pzxid
	if s.guardedSince != 0 {
		s.guardedSince = 0
		s.v.c.problems.resolve(s.dir)
		for name, l := range s.lost { // those that were replaced by others
			if !l.alone {
				delete(s.lost, name)
				l.node.drop()
			}
		}
	}
}

// shrinks reports whether a child's new value has lost too many entries of the old one.
func (s *set) shrinks(was, is any) bool {
	if was == nil || s.v.c.cfg.ShrinkGuard == 0 {
		return false
	}
	old, now := s.def.CountEntries(was), s.def.CountEntries(is)
	return old >= minEntries && (old-now)*100 > s.v.c.cfg.ShrinkGuard*old
}

// holdBack keeps serving the value of a child, which was last true at the given instant. It keeps the
// new value as well, for an operator to accept. v.mu is held.
func (s *set) holdBack(name string, n *node, value any, data []byte, zxid int64, at instant) {
	tripped := n.pending == nil
	if n.guardedSince == 0 {
		n.guardedSince = at
	}
	n.pending, n.pendingData, n.pendingZxid = value, data, zxid
	path := s.path(name)
	n.guardErr = fmt.Errorf("%s has %d entries left of %d; the last good ones are served: restore them, or POST /admin/accept%s",
		path, s.def.CountEntries(n.pending), s.def.CountEntries(n.value), path)
	if tripped {
		s.v.c.guardTripped(path, n.guardErr, zxid, n.zxid)
	} else {
		s.v.c.problems.update(path, n.guardErr, zxid, n.zxid)
	}
}

// served yields the children that have gone and that the guard serves.
func (s *set) served(yield func(name string, n *node) bool) {
	for name, l := range s.lost {
		if (s.guardedSince != 0 || l.alone) && !yield(name, l.node) {
			return
		}
	}
}

// Accept makes answers follow what ZooKeeper holds at path, although the cache has taken that for an
// accident. path is that of a directory that has lost children, of a child that has lost entries, or
// of a child that cannot be read. The last counts as nothing from then on, until other bytes are
// written there. Accept reports whether there was anything to accept.
func (c *Cache) Accept(path string) (accepted bool) {
	s, child := c.views.setAt(path)
	if s == nil {
		return false
	}
	if s.v.branch != nil && s.v.above() == nil && child == "" {
		accepted = s.v.branch.t.accept()
	}
	if accepted = s.accept(path, child) || accepted; !accepted && child == "" {
		if above, name := s.v.place(); above != nil {
			accepted = above.accept(path, name)
		}
	}
	if accepted {
		c.log.Warn("what ZooKeeper holds was accepted", "path", path)
	}
	return accepted
}

// accept is Accept for a child, or for the directory itself if the name is empty.
func (s *set) accept(path, child string) (accepted bool) {
	c := s.v.c
	s.v.change(func() {
		switch n := s.nodes[child]; {
		case child == "" && errors.Is(s.fault.err, errLostBase):
			s.acceptLostBase()
			accepted = true
		case child == "":
			if accepted = s.guardedSince != 0; !accepted {
				return
			}
			s.acceptLoss()
		case s.lost[child].alone:
			delete(s.lost, child)
			s.judge()
			accepted = true
		case n != nil && n.fault.err != nil && !n.fault.accepted:
			s.acceptFault(child, n) // the child still has a problem
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
	return accepted
}

// acceptLoss has answers follow the list of children. v.mu is held.
func (s *set) acceptLoss() {
	for name, l := range s.lost {
		delete(s.lost, name)
		s.v.c.problems.resolve(s.path(name))
		l.node.hide()
		l.node.drop()
	}
	s.release()
}

// guardTripped reports a loss as a problem, and counts it.
func (c *Cache) guardTripped(path string, err error, zxid, served int64) {
	c.metrics.guardTrips.Inc()
	c.problems.report(path, err, zxid, served)
}

// guarded returns the number of directories and children of which the guard serves what ZooKeeper no
// longer holds.
func (c *Cache) guarded() (n int) {
	c.views.each(func(v *view) {
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
	})
	return n
}
