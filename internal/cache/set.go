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

	// nodes and pzxid are read by the view's builder too: under v.mu.
	nodes map[string]*node
	pzxid int64
	// listed: the children are known. If not, list was cut short by an outage
	// and is done again when the session is back.
	listed bool
}

// node is one child.
type node struct {
	// value is the last one that parsed, nil if none ever did.
	value any
	zxid  int64
	// unread: its last read was cut short by an outage.
	unread bool
}

func (s *set) path(name string) string { return s.dir + "/" + name }

// childName returns the name of the child at path, if it is below the set.
func (s *set) childName(path string) (name string, ok bool) {
	return strings.CutPrefix(path, s.dir+"/")
}

// refresh reads again what is not under a watch: everything in a new epoch,
// else what an outage cut short.
func (s *set) refresh(epochIsNew bool) {
	s.v.mu.Lock()
	if epochIsNew {
		s.listed = false
		for _, n := range s.nodes {
			n.unread = true
		}
	}
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

// list reads which children there are.
func (s *set) list() {
	s.v.outdate(func() { s.listed = false })
	s.v.submit(func(done func(error)) {
		s.v.session.client.ChildrenAsync(s.dir, true, func(names []string, st zk.Stat, err error) {
			if !errors.Is(err, zk.ErrNoNode) {
				s.onList(names, st.Pzxid, err)
				done(err)
				return
			}
			s.v.session.client.ExistsAsync(s.dir, true, func(_ zk.Stat, err error) {
				switch {
				case err == nil:
					s.list() // it has come into being between the two
				case errors.Is(err, zk.ErrNoNode):
					err = nil
					s.onList(nil, 0, nil)
				}
				done(err)
			})
		})
	})
}

func (s *set) onList(names []string, pzxid int64, err error) {
	if err != nil {
		return
	}
	var added []string
	s.v.change(func() {
		s.listed = true
		s.pzxid = max(s.pzxid, pzxid)
		here := make(map[string]bool, len(names))
		for _, name := range names {
			here[name] = true
			if s.nodes[name] == nil {
				s.nodes[name] = &node{unread: true}
				added = append(added, name)
			}
		}
		for name := range s.nodes {
			if !here[name] {
				s.forget(name)
			}
		}
	})
	for _, name := range added {
		s.v.session.reserved.Add(int64(zk.WatchCost(s.path(name))))
		s.read(name)
	}
}

// forget takes a child out. v.mu is held.
func (s *set) forget(name string) {
	delete(s.nodes, name)
	s.v.session.reserved.Add(-int64(zk.WatchCost(s.path(name))))
	s.v.c.problems.resolve(s.path(name))
}

// read reads one child.
func (s *set) read(name string) {
	path := s.path(name)
	s.v.outdate(func() {
		if n := s.nodes[name]; n != nil {
			n.unread = true
		}
	})
	s.v.submit(func(done func(error)) {
		s.v.session.client.GetAsync(path, true, func(data []byte, st zk.Stat, err error) {
			switch {
			case err == nil:
				s.onRead(name, data, st)
			case errors.Is(err, zk.ErrNoNode):
				// Deleted since it was listed, so the children watch fires: should
				// the znode be back by then, it is read as a new one.
				err = nil
				s.v.change(func() {
					if s.nodes[name] != nil {
						s.forget(name)
					}
				})
			case errors.Is(err, zk.ErrNoAuth):
				s.v.c.problems.report(path, err, 0, 0)
				s.v.change(func() {
					if n := s.nodes[name]; n != nil {
						n.unread = false
					}
				})
			}
			done(err)
		})
	})
}

// onRead installs what a child holds. Where it does not parse, the last good
// value stays.
func (s *set) onRead(name string, data []byte, st zk.Stat) {
	value, err := s.decode(name, data, st.Mzxid)
	path := s.path(name)
	s.v.change(func() {
		n := s.nodes[name]
		if n == nil {
			return // unlisted meanwhile
		}
		n.unread = false
		var partial *partialError
		switch {
		case err == nil:
			s.v.c.problems.resolve(path)
		case errors.As(err, &partial):
			s.v.c.problems.report(path, err, st.Mzxid, st.Mzxid)
		default:
			s.v.c.problems.report(path, err, st.Mzxid, n.zxid)
			return
		}
		n.value, n.zxid = value, st.Mzxid
	})
}

// partialError says that a value could be made of a part of the data: it is
// served, and the rest is a problem.
type partialError struct{ err error }

func (e *partialError) Error() string { return e.err.Error() }
func (e *partialError) Unwrap() error { return e.err }
