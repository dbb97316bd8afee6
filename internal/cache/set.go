package cache

import (
	"errors"
	"strings"

	"magellan/internal/zk"
)

// set mirrors the children of one znode: all regions, all datacenters or all
// bad-citizen lists. A children watch tells which there are, a data watch on
// each what it holds. It is small and pinned, and belongs to a [view].
//
// All methods run on the dispatcher goroutine of the view's session, which is
// what makes "no event is missed" easy to see: a one-shot watch is set by the
// very read whose result is installed, so whatever fires comes after it.
type set struct {
	v   *view
	dir string
	// decode turns a child's bytes into its value.
	decode func(name string, data []byte, zxid int64) (any, error)
	// weight is the number of entries in a child's value; nil if it has none.
	weight func(value any) int

	// All that follows is read by the view's builder too: under v.mu.
	nodes map[string]*node
	// pzxid is the newest transaction that is known to have changed which children
	// there are, accepted the one whose children are served.
	pzxid, accepted int64
	// lost are children that have gone; heldSince is 0 unless the shrink guard
	// serves them still. See guard.go.
	lost      map[string]loss
	heldSince instant
	// listed: the children are known. If not, they are being read, or that was cut
	// short by an outage and is done again when the session is back, or fault says
	// why they cannot be.
	listed bool
	lag    lag // unless listed
	fault  fault
	// whole: which children there are and what each of them holds has been known at
	// once, at some time. Until then nothing is said of all of them together.
	whole bool
}

// node is one child.
type node struct {
	// value is the last one that parsed, nil if none ever did.
	value any
	zxid  int64
	// data is what value was made of, for the snapshot; nil if there is none.
	data []byte
	// read is the transaction that wrote what was read last, of which value may
	// be no part.
	read int64
	// pending is a newer value that the shrink guard holds back, heldSince the last
	// instant at which value was true then, and held says what was lost.
	pending     any
	pendingData []byte
	pendingZxid int64
	heldSince   instant
	held        error
	// unread: it is being read, or that was cut short by an outage. again: it is
	// being read once more, after a sync, because an older value came.
	unread, again bool
	lag           lag // while unread
	// fault says why what it holds now cannot be served.
	fault fault
}

// accept makes a value the one that is served.
func (n *node) accept(value any, data []byte, zxid int64) {
	n.value, n.data, n.zxid = value, data, zxid
	n.pending, n.pendingData, n.pendingZxid, n.heldSince, n.held = nil, nil, 0, 0, nil
	n.fault = fault{}
}

func (s *set) path(name string) string { return s.dir + "/" + name }

// childName returns the name of the child at path, if it is below the set.
func (s *set) childName(path string) (name string, ok bool) {
	return strings.CutPrefix(path, s.dir+"/")
}

// refresh reads again what is not under a watch: everything in a new epoch,
// else what an outage cut short.
func (s *set) refresh(epochIsNew bool) {
	if epochIsNew {
		s.v.outdate(func() {
			s.unlist()
			for _, n := range s.nodes {
				n.outdate(s.v.lagging())
			}
		})
	}
	s.v.mu.Lock()
	list := !s.listed
	var names []string
	for name, n := range s.nodes {
		if n.unread {
			names = append(names, name)
		}
	}
	s.v.mu.Unlock()
	if list {
		s.list()
	}
	for _, name := range names {
		s.read(name)
	}
}

// onWatch handles an event at path, and says whether path is of this set.
func (s *set) onWatch(path string) bool {
	if path == s.dir {
		s.list()
		return true
	}
	name, below := s.childName(path)
	if !below {
		return false
	}
	s.v.mu.Lock()
	_, known := s.nodes[name]
	s.v.mu.Unlock()
	if known {
		s.read(name)
	}
	return true
}

// unlist notes that there may be other children. v.mu is held.
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

// trueUntil is the last instant at which its value was known to be what ZooKeeper
// holds, 0 while it is.
func (n *node) trueUntil() instant {
	at := earlier(n.heldSince, n.fault.since)
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

func (s *set) readList() {
	s.v.submit(func(done func(error)) {
		s.v.session.client.ChildrenAsync(s.dir, true, func(names []string, st zk.Stat, err error) {
			if err = s.v.session.trust(err); !errors.Is(err, zk.ErrNoNode) {
				done(s.onList(names, st.Pzxid, err))
				return
			}
			s.v.session.client.ExistsAsync(s.dir, true, func(_ zk.Stat, err error) {
				switch err = s.v.session.trust(err); {
				case err == nil:
					s.list() // it has come into being between the two
				case errors.Is(err, zk.ErrNoNode):
					err = s.onList(nil, 0, nil)
				default:
					err = s.onList(nil, 0, err)
				}
				done(err)
			})
		})
	})
}

// onList installs which children there are. It returns the error of a read that is
// to be tried again.
func (s *set) onList(names []string, pzxid int64, err error) error {
	if passes(err) {
		return err
	}
	if err != nil {
		s.v.change(func() {
			if s.fault.err == nil && s.whole {
				s.fault.since = s.lag.since
			}
			s.fault.err, s.fault.unwatched = err, true
			s.v.c.problems.report(s.dir, s.unlistable(), 0, s.accepted)
		})
		return nil
	}
	var added []string
	s.v.change(func() {
		if s.fault.err != nil {
			s.fault = fault{}
			s.v.c.problems.resolve(s.dir)
		}
		s.unlist() // what is new in it lags from here on, if not longer
		s.pzxid = max(s.pzxid, pzxid)
		here := make(map[string]bool, len(names))
		for _, name := range names {
			here[name] = true
			if s.nodes[name] == nil {
				n := s.regain(name)
				n.lag = s.lag // it may have been there for as long
				s.nodes[name] = n
				added = append(added, name)
			}
		}
		for name := range s.nodes {
			if !here[name] {
				s.lose(name)
			}
		}
		s.listed, s.lag = true, lag{}
		s.judge()
	})
	for _, name := range added {
		s.v.session.reserved.Add(int64(zk.WatchCost(s.path(name))))
		s.read(name)
	}
	return nil
}

// forget takes a child out. v.mu is held.
func (s *set) forget(name string) {
	delete(s.nodes, name)
	s.v.session.reserved.Add(-int64(zk.WatchCost(s.path(name))))
	s.v.c.problems.resolve(s.path(name))
}

// clear forgets all that a snapshot has brought. v.mu is held.
func (s *set) clear() {
	for name := range s.nodes {
		s.forget(name)
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
	path := s.path(name)
	s.v.submit(func(done func(error)) {
		s.v.session.client.GetAsync(path, true, func(data []byte, st zk.Stat, err error) {
			switch err = s.v.session.trust(err); {
			case err == nil:
				s.onRead(name, data, st)
			case errors.Is(err, zk.ErrNoNode):
				// Deleted since it was listed, so the children watch fires: should
				// the znode be back by then, it is read as a new one.
				err = nil
				s.v.change(func() {
					if s.nodes[name] != nil {
						s.lose(name)
						s.judge()
					}
				})
			case !passes(err):
				s.onDenied(name, err, done)
				return
			}
			done(err)
		})
	})
}

// onDenied notes that a child may not be read, or cannot be for another reason that
// no event will tell the end of. Which bytes it holds is asked for all the same, as
// ZooKeeper tells the transaction that wrote them to everybody.
func (s *set) onDenied(name string, denied error, done func(error)) {
	s.v.session.client.ExistsAsync(s.path(name), false, func(st zk.Stat, err error) {
		if err = s.v.session.trust(err); passes(err) {
			done(err)
			return
		}
		s.v.mu.Lock()
		n := s.nodes[name]
		known := n == nil || !n.unread && n.fault.unwatched && n.read == st.Mzxid
		s.v.mu.Unlock()
		if !known { // which askAgain asks for each second
			s.v.change(func() {
				if n := s.nodes[name]; n != nil {
					s.spoil(name, n, denied, st.Mzxid)
					n.fault.unwatched = true
				}
			})
		}
		done(nil)
	})
}

// askAgain reads what could not be read, as no event tells when it can be. It runs
// on the view's goroutine.
func (s *set) askAgain() {
	s.v.mu.Lock()
	list := s.fault.unwatched
	var names []string
	for name, n := range s.nodes {
		if n.fault.unwatched && !n.unread {
			names = append(names, name)
		}
	}
	s.v.mu.Unlock()
	if list {
		s.readList()
	}
	for _, name := range names {
		s.get(name)
	}
}

// onRead installs what a child holds. Where it does not parse, or has lost too
// much, the last good value stays.
func (s *set) onRead(name string, data []byte, st zk.Stat) {
	value, err := s.decode(name, data, st.Mzxid)
	path := s.path(name)
	again := false
	s.v.change(func() {
		n := s.nodes[name]
		if n == nil {
			return // unlisted meanwhile
		}
		if again = st.Mzxid < n.read && !n.again; again {
			// A server that lags behind what has been served. If a sync does not
			// change its mind, what was served was another ensemble's.
			n.again = true
			return
		}
		n.again = false
		if s.v.c.cfg.Snapshot == "" {
			data = nil
		}
		var partial *partialError
		if err != nil && !errors.As(err, &partial) {
			s.spoil(name, n, err, st.Mzxid)
			return
		}
		last := n.trueUntil()
		n.unread, n.fault, n.read = false, fault{}, st.Mzxid
		if s.shrinks(n.value, value) {
			s.hold(name, n, value, data, st.Mzxid, last)
			return
		}
		n.accept(value, data, st.Mzxid)
		if partial != nil {
			s.v.c.problems.report(path, err, st.Mzxid, st.Mzxid)
		} else {
			s.v.c.problems.resolve(path)
		}
	})
	if again {
		s.v.session.sync(func(err error) {
			if err == nil { // else the next onReady reads it
				s.read(name)
			}
		})
	}
}

// partialError says that a value could be made of a part of the data: it is
// served, and the rest is a problem.
type partialError struct{ err error }

func (e *partialError) Error() string { return e.err.Error() }
func (e *partialError) Unwrap() error { return e.err }
