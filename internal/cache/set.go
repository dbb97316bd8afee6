package cache

import (
	"errors"
	"fmt"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// set mirrors the children of one directory. A children watch tells which there are, and a
// data watch on each child what it holds. All of it stays in memory. A set belongs to a
// [view].
//
// The view's session lists the children. Each child is read and watched on one session: the
// view's as long as that has room for its watch. What a child holds is handled on the
// dispatcher goroutine of its session. No event is missed, because the read whose result is
// installed has set the one-shot watch, so that an event comes after that result. Between
// sessions there is no order: one may lag behind what another has shown.
type set struct {
	v   *view
	dir string // the directory's path
	def discovery.AnyDirectory
	// inside says what the children are. It is Records for a directory of a view.
	inside discovery.Inside

	// All that follows is under v.mu, because the view's builder reads it too.
	nodes map[string]*node
	// pzxid is the newest transaction that is known to have changed which children
	// there are, accepted the one whose children are served.
	pzxid, accepted int64
	// lost are children that have gone. guardedSince is the last instant at which all
	// were known to be there, 0 unless the shrink guard still serves them. See guard.go.
	lost map[string]loss
	// order has the names in lost, those first that went first; and names that are not there
	// any more. moved is the last instant at which a child went or came, 0 if none did. Both are of trees.
	order        []string
	moved        instant
	guardedSince instant
	// withheld is a loss that is not published yet. See hold.go.
	withheld hold
	// listed: it is known which children there are. If not, they are being listed, or an
	// outage cut that short and they are listed when the session is back, or fault says why
	// they cannot be listed.
	listed bool
	lag    lag // unless listed
	fault  fault
	// absent: the directory itself does not exist.
	absent bool
	// renewed: the children are listed for the first time since a session was lost, so that some may
	// have gone meanwhile in any way.
	renewed bool
	// directories: some of the children are, or were, directories of a tree.
	directories bool
	// unwatched: the set's fault, or that of a child, may be unwatched.
	unwatched bool
	// seen is the last instant at which the list was proved to be what ZooKeeper holds by a
	// read or a check, without trusting a watch. See check.go.
	seen instant
	// due are children that are still to be checked in this round.
	due rota[string]
	// asking: askAgain is reading once more what could not be read.
	asking bool
	// relists lists the children because a session other than the view's found one gone.
	relists shared
	// whole: at some time it was known at once which children there are and what each of
	// them holds. Until then nothing is answered about all of them together.
	whole bool
}

// node is one child.
type node struct {
	// on is the session that reads and watches it; nil until one has been found.
	on *session
	// gone: its session has found that it does not exist, and the children are being listed
	// once more.
	gone bool
	// value is the last one that parsed, nil if none ever did.
	value any
	zxid  int64
	// owner is the ZooKeeper session that the child lives with, 0 if that is not known or the child
	// is persistent. durable: it is known to be persistent.
	owner   int64
	durable bool
	// branch is the view of the child's own children, if the child is a directory of a tree.
	branch *view
	// data is what value was made of, for the snapshot; nil if there is none.
	data []byte
	// read is the transaction that wrote the bytes that were read last. They may not parse,
	// or be held back, so that value is made of earlier ones.
	read int64
	// pending is a newer value that the shrink guard holds back. guardedSince is the
	// last instant at which value was true, and guardErr says what was lost.
	pending      any
	pendingData  []byte
	pendingZxid  int64
	guardedSince instant
	guardErr     error
	// unread: it is being read, or an outage cut that short. again: it is being read once
	// more, after a sync, because an older value came.
	unread, again bool
	lag           lag // while unread
	// fault says why what it holds now cannot be served.
	fault fault
	seen  instant // as set.seen
}

// accept makes a value the one that is served.
func (n *node) accept(value any, data []byte, zxid int64) {
	n.value, n.data, n.zxid = value, data, zxid
	n.pending, n.pendingData, n.pendingZxid, n.guardedSince, n.guardErr = nil, nil, 0, 0, nil
	n.fault = fault{}
}

func newSet(v *view, dir discovery.AnyDirectory, inside discovery.Inside) *set {
	return &set{v: v, dir: dir.Dir(), def: dir, inside: inside, nodes: map[string]*node{}, lost: map[string]loss{}}
}

func (s *set) path(name string) string {
	if s.dir == "/" {
		return "/" + name
	}
	return s.dir + "/" + name
}

// bare reports whether the children are not read: their names are all that there is to know.
func (s *set) bare() bool { return s.inside == discovery.Names || s.inside == discovery.Directories }

// decode makes a value of a child's bytes, which zxid has written.
func (s *set) decode(name string, data []byte, zxid int64) (any, error) {
	return s.def.DecodeAny(name, data, discovery.Stat{Mzxid: zxid})
}

// refresh reads again what is under no watch of the session: in a new epoch everything that the
// session carries, otherwise what an outage cut short.
func (s *set) refresh(on *session, epochIsNew bool) {
	own := on == s.v.session
	var names []string
	find := func() {
		for name, n := range s.nodes {
			if n.on == on || own && n.on == nil {
				if epochIsNew && !s.bare() {
					n.outdate(s.v.lagging())
				}
				if n.unread && !s.bare() {
					names = append(names, name)
				}
			}
		}
	}
	if epochIsNew && own {
		s.v.outdate(func() { s.unlist(); s.renewed = true; find() })
	} else if epochIsNew && s.carries(on) {
		s.v.outdate(find)
	} else {
		s.v.mu.Lock()
		find()
		s.v.mu.Unlock()
	}
	s.v.mu.Lock()
	list := own && !s.listed
	s.v.mu.Unlock()
	if list {
		s.list()
	}
	for _, name := range names {
		s.read(name)
	}
}

// carries reports whether any child is on the session.
func (s *set) carries(on *session) bool {
	s.v.mu.Lock()
	defer s.v.mu.Unlock()
	for _, n := range s.nodes {
		if n.on == on {
			return true
		}
	}
	return false
}

// onWatch handles an event of a session about a child, or about the directory itself if
// the name is empty.
func (s *set) onWatch(on *session, child string) {
	if child == "" {
		if on == s.v.session {
			s.list()
		}
		return
	}
	s.v.mu.Lock()
	n := s.nodes[child]
	known := n != nil && n.on == on
	s.v.mu.Unlock()
	if known {
		s.read(child)
	}
}

// unlist notes that there may be other children than those that are known. v.mu is held.
func (s *set) unlist() {
	if s.listed {
		s.listed, s.lag = false, s.v.lagging()
	}
}

// outdate notes that a child is to be read.
func (n *node) outdate(l lag) {
	if !n.unread {
		n.unread, n.lag = true, l
	}
}

// trueUntil is the last instant at which its value was known to be what ZooKeeper holds; 0 if it
// is now.
func (n *node) trueUntil() instant {
	at := earlier(n.guardedSince, n.fault.since)
	if n.unread {
		at = earlier(at, n.lag.since)
	}
	return at
}

// list reads which children there are.
func (s *set) list() {
	s.v.outdate(s.unlist)
	s.readList()
}

// listSynced lists after a sync, because another session has shown something that the view's
// session may not have seen yet. If the sync fails, the next onReady lists.
func (s *set) listSynced() {
	own := s.v.session
	s.relists.join(func(done func(error)) {
		own.sync(func(err error) {
			if err == nil {
				s.list()
			}
			done(err)
		})
	}, func(error) {})
}

func (s *set) readList() { s.v.submit(s.v.session, s.issueList) }

// issueList lists the children once. done is given an error if that has to be done again.
func (s *set) issueList(done func(error)) {
	on := s.v.session
	on.client.ChildrenAsync(s.dir, true, func(names []string, st zk.Stat, err error) {
		switch err = on.trust(err); {
		case err == nil:
			s.onList(names, st.Pzxid)
		case errors.Is(err, zk.ErrNoNode) && s.v.above() != nil:
			s.onVanished()
			err = nil
		case errors.Is(err, zk.ErrNoNode):
			s.awaitDir(done)
			return
		case !passes(err):
			s.onUnlistable(err, done)
			return
		}
		done(err)
	})
}

// awaitDir sets an exists watch on a directory that does not exist. If the root does not exist
// either, it is not known which children there are.
func (s *set) awaitDir(done func(error)) {
	on := s.v.session
	on.seeRoot(func(err error) {
		if err != nil {
			if errors.Is(err, ErrNoRoot) { // rootIsBack reads it
				s.v.fail(translate(err))
				err = nil
			}
			done(err)
			return
		}
		on.client.ExistsAsync(s.dir, true, func(_ zk.Stat, err error) {
			switch err = on.trust(err); {
			case err == nil:
				s.list() // it has come into being between the two
			case errors.Is(err, zk.ErrNoNode):
				err = nil
				s.onAbsent()
			case !passes(err):
				s.onUnlistable(err, done)
				return
			}
			done(err)
		})
	})
}

// onList installs which children there are.
func (s *set) onList(names []string, pzxid int64) {
	var added, adopted, homeless []string
	var branches []*view
	s.v.change(func() {
		if s.v.gone() {
			return
		}
		s.absent = pzxid == 0
		if s.fault.err != nil {
			s.fault = fault{}
			s.v.c.problems.resolve(s.dir)
		}
		s.unlist() // children that are new lag from here on, if not longer
		if pzxid != 0 {
			s.pzxid = pzxid // it goes back if ZooKeeper has lost transactions
		}
		here := make(map[string]bool, len(names))
		for _, name := range names {
			here[name] = true
		}
		s.takeBack(here)
		if !s.allHere(here) {
			s.hold()
		}
		for name := range s.nodes { // before others come, which may take the places of these
			if !here[name] {
				s.lose(name)
			}
		}
		for _, name := range names {
			if s.nodes[name] == nil {
				n := s.regain(name)
				n.lag = s.lag // it may have been there for as long
				s.nodes[name] = n
				if s.bare() {
					if s.adopt(name, n, pzxid); s.inside == discovery.Names {
						adopted = append(adopted, name)
					}
				} else if s.place(name, n); n.on != nil {
					added = append(added, name)
				} else {
					homeless = append(homeless, name)
				}
			} else if s.bare() {
				n := s.nodes[name]
				if n.gone, n.unread = false, false; n.value == nil && n.branch == nil && n.fault.err == nil {
					s.adopt(name, n, pzxid)
				}
			} else if n := s.nodes[name]; n.gone {
				n.gone = false // it is back
				added = append(added, name)
			}
			if n := s.nodes[name]; n.branch != nil && !n.branch.sets[0].isListed() {
				branches = append(branches, n.branch)
			}
		}
		s.listed, s.renewed, s.lag, s.seen = true, false, lag{}, s.v.session.verified()
		s.judge()
	})
	for _, v := range branches {
		v.sets[0].listSynced()
	}
	if s.v.branch != nil {
		s.reconsider(len(names))
	}
	for _, name := range added {
		s.read(name)
	}
	for _, name := range adopted {
		s.learnOwner(name)
	}
	if len(homeless) > 0 {
		s.v.c.stopped.Go(func() {
			for _, name := range homeless {
				s.spread(name)
			}
		})
	}
}

// place puts a child on the view's session if that has room for the child's watch. v.mu is held.
func (s *set) place(name string, n *node) {
	cost := watchCost(s.path(name))
	if own := s.v.session; own.reserved.Add(cost) <= s.v.c.cfg.watchBudget {
		n.on = own
	} else {
		own.reserved.Add(-cost)
	}
}

// spread finds another session for a child that the view's session has no room for, and reads
// the child there. It may open a session, which takes time.
func (s *set) spread(name string) {
	path := s.path(name)
	on, err := s.v.c.sessions.reserve(s.v.c, path)
	taken := false
	s.v.change(func() {
		switch n := s.nodes[name]; {
		case n == nil || n.on != nil:
		case err != nil:
			s.spoil(name, n, fmt.Errorf("it is not watched: %w", err), n.read)
			n.fault.unwatched, s.unwatched = true, true
		default:
			n.on, taken = on, true
		}
	})
	switch {
	case taken:
		s.getSynced(name, on)
	case err == nil:
		s.v.c.sessions.unreserve(on, path)
	}
}

// getSynced reads a child on a session that may lag behind what is known of it.
func (s *set) getSynced(name string, on *session) {
	s.v.submit(on, func(done func(error)) {
		on.sync(func(err error) {
			if err == nil {
				s.get(name)
			}
			done(err)
		})
	})
}

// forget removes a child. v.mu is held.
func (s *set) forget(name string) {
	if n := s.nodes[name]; n != nil && n.on != nil {
		s.v.c.sessions.unreserve(n.on, s.path(name))
	}
	delete(s.nodes, name)
	s.v.c.problems.resolve(s.path(name))
}

// clear removes all that a snapshot has brought. v.mu is held.
func (s *set) clear() {
	for name, n := range s.nodes {
		s.forget(name)
		n.drop()
	}
	s.pzxid, s.accepted, s.whole = 0, 0, false
}

// read reads one child.
func (s *set) read(name string) {
	s.v.outdate(func() {
		if n := s.nodes[name]; n != nil {
			n.outdate(s.v.lagging())
		}
	})
	s.get(name)
}

func (s *set) get(name string) {
	s.v.mu.Lock()
	n := s.nodes[name]
	if n == nil {
		s.v.mu.Unlock()
		s.v.change(func() {}) // the caller has outdated what is published
		return
	}
	on := n.on
	s.v.mu.Unlock()
	if s.bare() {
		s.list()
		return
	}
	if on == nil {
		s.v.c.stopped.Go(func() { s.spread(name) })
		return
	}
	s.v.submit(on, func(done func(error)) { s.issueGet(on, name, done) })
}

// issueGet reads a child once. done is given an error if that has to be done again.
func (s *set) issueGet(on *session, name string, done func(error)) {
	on.client.GetAsync(s.path(name), true, func(data []byte, st zk.Stat, err error) {
		switch err = on.trust(err); {
		case err == nil:
			s.onRead(on, name, data, st)
		case errors.Is(err, zk.ErrNoNode):
			err = nil
			s.onGone(on, name)
		case !passes(err):
			s.onDenied(on, name, err, done)
			return
		}
		done(err)
	})
}

// onGone handles that a child does not exist: the children are listed once more, because others
// may have gone with it, or another has come in its place. If the child was read on a session
// that is not the view's own, that session may be behind or ahead of the view's, which syncs
// before it lists.
func (s *set) onGone(on *session, name string) {
	own := s.v.session
	known, listing := false, false
	s.v.change(func() {
		if n := s.nodes[name]; n != nil && n.on == on {
			n.gone, known = true, true
			listing = on == own && !s.listed && s.fault.err == nil
			s.unlist()
		}
	})
	switch {
	case !known, listing: // the children watch has fired as well
	case on == own:
		s.readList()
	default:
		s.listSynced()
	}
}

// onRead installs what a child holds. If the bytes do not parse, or have lost too much, the last
// good value stays.
func (s *set) onRead(on *session, name string, data []byte, st zk.Stat) {
	value, err := s.decode(name, data, st.Mzxid)
	path := s.path(name)
	again := false
	var branch *view
	s.v.change(func() {
		n := s.nodes[name]
		if n == nil || n.on != on || s.v.gone() {
			return // unlisted meanwhile
		}
		if again = st.Mzxid < n.read && !n.again; again {
			// The server lags behind what has been served. If it tells the same after a sync,
			// what was served was another ensemble's.
			n.again = true
			return
		}
		n.again, n.gone, n.seen = false, false, on.verified()
		n.owner, n.durable = st.EphemeralOwner, st.EphemeralOwner == 0
		s.v.vouch(on)
		if s.v.c.cfg.Snapshot == "" {
			data = nil
		}
		var partial *discovery.PartialError
		if bad := err != nil && !errors.As(err, &partial); s.isBranch(st, bad) {
			branch = s.readBranch(name, n, err, st)
			return
		} else if bad {
			n.endBranch()
			s.spoil(name, n, err, st.Mzxid)
			return
		}
		n.endBranch()
		last := n.trueUntil()
		n.unread, n.fault, n.read = false, fault{}, st.Mzxid
		if s.shrinks(n.value, value) {
			s.holdBack(name, n, value, data, st.Mzxid, last)
			return
		}
		n.accept(value, data, st.Mzxid)
		if partial != nil {
			s.v.c.problems.report(path, err, st.Mzxid, st.Mzxid)
		} else {
			s.v.c.problems.resolve(path)
		}
	})
	if branch != nil {
		branch.sets[0].found(on)
	}
	if again {
		on.sync(func(err error) {
			if err == nil { // else the next onReady reads it
				s.read(name)
			}
		})
	}
}
