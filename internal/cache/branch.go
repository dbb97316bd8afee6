package cache

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// Branches. A directory of a tree has two places: it is a child in the set of the directory above
// it, whose data watch tells of its bytes and of its end, and it is a view, whose children watch
// tells of its own children. The set above decides whether it exists:
//
//	listed above, read, no record ──▶ open ──▶ shown ── gone above ──▶ hidden ──▶ dropped
//	                                             ▲                        │
//	                                             └── guarded, or it is back
//
// A hidden view answers nothing. It is kept for as long as the shrink guard above may still decide
// to serve it.
//
// Locks are taken downwards: that of a view, then those of the views below it, then tree.mu.

// branch is what a view has if it is a directory of a tree.
type branch struct {
	t *tree
	// dir is its path below the tree, "" for the tree's own znode.
	dir string
	// above is the set that it is a child of, by the name; nil for the tree's own znode.
	above *set
	name  string
	// reader is a *View[S].
	reader any
	// hidden: it does not exist any more. It changes under the lock of the set above.
	hidden atomic.Bool
	// bytes: its znode holds bytes that are no record. broken: moreover it has no children,
	// so that it is a record that does not parse rather than a directory.
	bytes, broken atomic.Bool
}

var (
	errDirectoryGone = errors.New("the directory does not exist any more")
	errLostBase      = errors.New("the znode does not exist any more, and what was read before is served")
)

// gone reports whether the view is that of a directory that does not exist any more.
func (v *view) gone() bool { return v.branch != nil && v.branch.hidden.Load() }

// isDirectory reports whether the child is a directory, and no record that does not parse.
func (n *node) isDirectory() bool { return n.branch != nil && !n.branch.branch.broken.Load() }

// above is the set that a directory of a tree is a child of; nil for the tree's own znode and
// for other views.
func (v *view) above() *set {
	above, _ := v.place()
	return above
}

// place is above, with the directory's name there.
func (v *view) place() (above *set, name string) {
	if v.branch == nil {
		return nil, ""
	}
	return v.branch.above, v.branch.name
}

// isBranch reports whether a child that was read is a directory, or may become one: it has children,
// or its bytes are no record.
func (s *set) isBranch(st zk.Stat, bad bool) bool {
	return s.inside == discovery.Mixed && st.EphemeralOwner == 0 && (bad || st.NumChildren > 0)
}

// readBranch installs that a child is a directory. If it has no children, but bytes that do not parse,
// as why says, or if it was a record before, it is taken for a record that does not parse, until it has
// children. readBranch returns the view of the directory, nil if there is none. v.mu is held.
func (s *set) readBranch(name string, n *node, why error, st zk.Stat) *view {
	if !s.open(name, n, st.Mzxid) {
		return nil
	}
	b := n.branch.branch
	b.bytes.Store(st.DataLength > 0 || n.value != nil)
	b.broken.Store(b.bytes.Load() && st.NumChildren == 0)
	if b.broken.Load() {
		s.spoil(name, n, fmt.Errorf("%w; it has no children either, so that it is no directory", why), st.Mzxid)
		return n.branch
	}
	n.accept(nil, nil, st.Mzxid)
	n.unread, n.read = false, st.Mzxid
	s.v.c.problems.resolve(s.path(name))
	return n.branch
}

// endBranch handles that a child is no directory any more, but a record. v.mu is held.
func (n *node) endBranch() {
	if v := n.branch; v != nil {
		v.session.orphan(v.sets[0].dir) // no event has taken its watch off the server
		v.session.reserved.Add(watchCost(v.sets[0].dir))
		n.drop()
	}
}

// adopt installs a child of a bare set, which zxid or an earlier transaction has created. v.mu is
// held.
func (s *set) adopt(name string, n *node, zxid int64) {
	n.unread = false
	if s.inside == discovery.Directories {
		if s.open(name, n, zxid) {
			n.accept(nil, nil, zxid)
		}
		n.unread, n.read = false, zxid
		return
	}
	value, err := s.decode(name, nil, zxid)
	if err != nil {
		s.spoil(name, n, err, zxid)
		return
	}
	n.accept(value, nil, zxid)
	n.read = zxid
}

// open makes the view of a child that is a directory, unless it has one. It reports whether there
// is one then. If not, the child is no part of the tree, or has a fault. v.mu is held.
func (s *set) open(name string, n *node, zxid int64) bool {
	if n.branch != nil {
		return true
	}
	t := s.v.branch.t
	b := &branch{t: t, dir: strings.TrimPrefix(s.v.branch.dir+"/"+name, "/"), above: s, name: name}
	if t.inside(b.dir) == discovery.Nothing || t.path == "/" && b.dir == "zookeeper" {
		n.accept(nil, nil, zxid)
		n.unread, n.read = false, zxid
		return false
	}
	if strings.Count(b.dir, "/") >= t.maxDepth {
		s.spoil(name, n, fmt.Errorf("it is a directory more than %d levels below %s, and is not followed", t.maxDepth, t.path), zxid)
		return false
	}
	t.mu.RLock()
	directories := len(t.views)
	t.mu.RUnlock()
	if directories > t.maxDirectories {
		s.spoil(name, n, fmt.Errorf("%s has more than %d directories, and this one is not followed", t.path, t.maxDirectories), zxid)
		return false
	}
	path := t.pathOf(b.dir)
	on := s.v.c.sessions.pick(s.v.c, s.v.session, watchCost(path))
	if on == nil {
		s.spoil(name, n, fmt.Errorf("it is not watched: %w", errNoRoom), zxid)
		n.fault.unwatched, s.unwatched = true, true // askAgain tries again
		s.v.c.stopped.Go(func() {                   // which opens a session, if there may be one more
			if on, err := s.v.c.sessions.reserve(s.v.c, path); err == nil {
				s.v.c.sessions.unreserve(on, path)
			}
		})
		return false
	}
	n.branch = t.makeView(b)
	n.branch.init(on)
	s.directories = true
	t.put(n.branch)
	return true
}

// pick reserves room for a watch without waiting: on the session with the most room, or on the
// given one before the sessions are open. It returns nil if no session has room.
func (p *sessions) pick(c *Cache, near *session, cost int64) *session {
	if best, _ := p.roomiest(c, cost); best != nil {
		near = best
	}
	if near.reserved.Add(cost) <= c.cfg.watchBudget {
		return near
	}
	near.reserved.Add(-cost)
	return nil
}

func (t *tree) put(v *view) {
	t.mu.Lock()
	t.views[v.branch.dir] = v
	t.order = nil
	t.mu.Unlock()
}

// found lists a directory that a session has found, unless it is listed.
func (s *set) found(on *session) {
	switch {
	case s.isListed():
	case on == s.v.session:
		s.list()
	default:
		s.listSynced()
	}
}

func (s *set) isListed() bool {
	s.v.mu.Lock()
	defer s.v.mu.Unlock()
	return s.listed
}

// onVanished handles that a directory does not exist, although the set above has shown it. That
// set finds out, because its session may be behind.
func (s *set) onVanished() {
	above, name := s.v.place()
	if above.bare() {
		above.listSynced()
		return
	}
	above.readSynced(name)
}

// reconsider has the set above read the directory's znode again if its bytes mean something else
// now that it has children, or has none.
func (s *set) reconsider(children int) {
	above, name := s.v.place()
	if above == nil || !s.v.branch.bytes.Load() || (children == 0) == s.v.branch.broken.Load() {
		return
	}
	above.readSynced(name)
}

// readSynced reads a child after a sync.
func (s *set) readSynced(name string) {
	var on *session
	s.v.outdate(func() {
		if n := s.nodes[name]; n != nil && n.on != nil {
			on = n.on
			n.outdate(s.v.lagging())
		}
	})
	if on == nil {
		s.v.change(func() {}) // because what is published has been outdated
		return
	}
	s.getSynced(name, on)
}

// hide removes a directory from the tree, with all directories in it. The lock of the set above
// is held.
func (n *node) hide() {
	if n.branch == nil || n.branch.branch.hidden.Swap(true) {
		return
	}
	v := n.branch
	t, s := v.branch.t, v.sets[0]
	t.mu.Lock()
	if t.views[v.branch.dir] == v {
		delete(t.views, v.branch.dir)
		t.order = nil
	}
	t.mu.Unlock()
	v.mu.Lock()
	since := v.ended()
	if since == 0 {
		since = v.verified()
	}
	if s.fault.err == nil {
		s.fault = fault{err: errDirectoryGone, since: earlier(s.lag.since, since)}
	}
	s.listed = false
	for _, n := range s.nodes {
		n.hide()
	}
	v.announce()
	v.mu.Unlock()
	t.publish(t.gone(v))
}

// show brings back a directory that was hidden, because the shrink guard serves it. The lock of
// the set above is held.
func (n *node) show() {
	if n.branch == nil || !n.branch.branch.hidden.Load() {
		return
	}
	v := n.branch
	t, s := v.branch.t, v.sets[0]
	v.mu.Lock()
	for _, l := range s.lost { // they have gone with the directory
		s.guardedSince = earlier(s.guardedSince, l.at)
		l.node.show()
	}
	for _, n := range s.nodes {
		n.show()
	}
	v.mu.Unlock()
	v.branch.hidden.Store(false)
	t.put(v)
	v.change(func() {})
	t.publish(t.here(v))
}

// drop forgets a directory, with all directories in it. The lock of the set above is held.
func (n *node) drop() {
	if n.branch == nil {
		return
	}
	n.hide()
	v := n.branch
	n.branch = nil
	s, c := v.sets[0], v.c
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, l := range s.lost {
		l.node.drop()
	}
	clear(s.lost)
	for name, n := range s.nodes {
		n.drop()
		s.forget(name)
	}
	c.sessions.unreserve(v.session, s.dir)
	c.problems.resolve(s.dir)
}

// publish publishes topics, on another goroutine because the caller holds locks.
func (t *tree) publish(all []discovery.Topic) {
	if len(all) > 0 && t.c.notify.feed.Watches() > 0 {
		t.c.stopped.Go(func() {
			for _, topic := range all {
				t.c.notify.feed.Publish(topic, time.Time{})
			}
		})
	}
}

// replace takes a record that has come for the one that has taken the place of another: in a
// registry names do not come back. The guard does not count that as a loss. v.mu is held.
func (s *set) replace() {
	for len(s.order) > 0 {
		name := s.order[0]
		s.order = s.order[1:]
		if l, is := s.lost[name]; is {
			delete(s.lost, name)
			l.node.hide()
			l.node.drop()
			return
		}
	}
	s.order = nil
}

// onAbsent handles that the directory does not exist.
func (s *set) onAbsent() {
	if s.v.branch == nil || !s.lostBase() {
		s.onList(nil, 0)
	}
}

// lostBase handles that the tree's own znode has gone after the tree was known. A mount point is
// not deleted in the ordinary course, so that nothing below it is taken for absent. It returns
// false if the tree was empty or was never known.
func (s *set) lostBase() bool {
	t, lost := s.v.branch.t, false
	s.v.change(func() {
		if lost = s.v.c.cfg.ShrinkGuard != 0 && s.whole && !s.absent && (len(s.nodes) > 0 || s.guardedSince != 0); !lost || s.fault.err != nil {
			return
		}
		s.fault = fault{err: errLostBase, since: s.lag.since}
		err := fmt.Errorf("%s: %w: restore it, or POST /admin/accept%s", s.dir, errLostBase, s.dir)
		s.v.c.problems.report(s.dir, err, 0, s.accepted)
	})
	if !lost {
		return false
	}
	for _, v := range t.sorted() {
		if v == t.base {
			continue
		}
		v.change(func() {
			if below := v.sets[0]; below.fault.err == nil {
				at := v.verified()
				if below.fault = (fault{err: errLostBase, since: earlier(below.lag.since, at)}); below.fault.since == 0 {
					below.fault.since = at
				}
				below.unlist()
			}
		})
	}
	return true
}

// acceptLostBase accepts that nothing is below the tree's own znode. v.mu is held.
func (s *set) acceptLostBase() {
	for name, n := range s.nodes {
		n.drop()
		s.forget(name)
	}
	for name, l := range s.lost {
		delete(s.lost, name)
		l.node.drop()
	}
	s.fault, s.absent, s.listed, s.lag, s.guardedSince = fault{}, true, true, lag{}, 0
	s.accepted = s.pzxid
}

// restoreBranch adds a directory that a snapshot has. It returns the directory's own set, or s and
// the name if it cannot be added. It is called before any session is open.
func (s *set) restoreBranch(name string) (*set, string) {
	if s.v.branch == nil || s.nodes[name] != nil || !s.takes(name) {
		return s, name
	}
	n := &node{unread: true, lag: s.lag}
	if !s.open(name, n, 0) {
		return s, name
	}
	s.nodes[name] = n
	if !s.bare() {
		s.place(name, n)
	}
	return n.branch.sets[0], ""
}
