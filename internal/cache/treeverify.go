package cache

import (
	"errors"
	"sync/atomic"

	"magellan/internal/zk"
)

// Who has gone. The guard of a tree is for the case that sessions are lost, and not for a program that
// takes its records back. A server does not tell why a znode was deleted, but it does tell which session
// owns an ephemeral one, and deletes all znodes of a session in one transaction. So for each record that
// has gone the cache asks whether another record of the same owner is still there. If so, the owner
// lives, and has deleted the record itself: the guard does not count it. Mostly the list of children that
// lacks the record shows another one (takeBack), so that nothing need be asked. A persistent record is deleted
// by somebody in any case, so that it does not count, unless it was missed after a session of the cache's
// own was lost: ZooKeeper may have lost it.
//
// The guard does not wait for the answer. If it trips meanwhile, it lets go again.

// takeBack notes which children have been taken back of those that a list does not have: another child of
// the same owner is in that list. v.mu is held.
func (s *set) takeBack(here map[string]bool) {
	if s.v.branch == nil || s.v.c.cfg.ShrinkGuard == 0 || len(s.nodes) <= len(here) && s.allHere(here) {
		return
	}
	lives := map[int64]bool{}
	for name := range here {
		if n := s.nodes[name]; n != nil && n.owner != 0 {
			lives[n.owner] = true
		}
	}
	for name, n := range s.nodes {
		if !here[name] && lives[n.owner] {
			n.durable = true // somebody has deleted it, as if it were persistent
		}
	}
}

// allHere reports whether a list has all children. v.mu is held.
func (s *set) allHere(here map[string]bool) bool {
	for name := range s.nodes {
		if !here[name] {
			return false
		}
	}
	return true
}

// learnOwner asks which session a child of a bare set lives with. Nothing else is asked of it, so that an
// answer that is lost is no matter.
func (s *set) learnOwner(name string) {
	on := s.v.session
	s.v.submit(on, func(done func(error)) {
		on.client.ExistsAsync(s.path(name), false, func(st zk.Stat, err error) {
			if on.trust(err) == nil {
				s.v.mu.Lock()
				if n := s.nodes[name]; n != nil {
					n.owner, n.durable = st.EphemeralOwner, st.EphemeralOwner == 0
				}
				s.v.mu.Unlock()
			}
			done(nil)
		})
	})
}

// mostWitnesses is how many other records of an owner are asked for.
const mostWitnesses = 3

// lostBy is what is being found out about the owner of records that have gone.
type lostBy struct {
	// witnesses are records of the owner that the cache takes for existing.
	witnesses []witness
	lives     atomic.Bool
	// early: a witness has gone as well, which the cache did not know. There may be others, so that
	// the owner has to be asked for again.
	early atomic.Bool
}

type witness struct {
	on   *session
	path string
}

// verify finds out of which records that have gone the owner lives. It returns at once, and does nothing
// if it is still at it.
func (t *tree) verify() {
	if t.guard.verifying.Swap(true) {
		return
	}
	owners := t.lostOwners()
	if len(owners) == 0 {
		t.guard.verifying.Store(false)
		return
	}
	t.c.findWitnesses(owners)
	var asks []*probe
	for owner, by := range owners {
		for _, w := range by.witnesses {
			asks = append(asks, &probe{on: w.on, read: func(done func(error)) {
				// What the session has shown before may be older than the loss.
				w.on.sync(func(err error) {
					if err != nil {
						done(err)
						return
					}
					w.on.client.ExistsAsync(w.path, false, func(st zk.Stat, err error) {
						switch err = w.on.trust(err); {
						case err == nil && st.EphemeralOwner == owner:
							by.lives.Store(true)
						case err == nil, errors.Is(err, zk.ErrNoNode):
							by.early.Store(true)
						}
						if errors.Is(err, zk.ErrNoNode) || !passes(err) {
							err = nil
						}
						done(err)
					})
				})
			}})
		}
	}
	startProbing(asks, func(err error) {
		t.forgive(owners, err == nil)
		t.guard.verifying.Store(false)
	})
}

// lostOwners returns the owners of the records that have gone, of those that have not been asked for.
func (t *tree) lostOwners() map[int64]*lostBy {
	owners := map[int64]*lostBy{}
	for _, v := range t.sorted() {
		v.mu.Lock()
		s := v.sets[0]
		for _, l := range s.lost {
			if !l.checked {
				l.node.eachOwner(func(owner int64) { owners[owner] = new(lostBy) })
			}
		}
		v.mu.Unlock()
	}
	delete(owners, 0)
	return owners
}

// eachOwner calls f for the owner of a child, or of all records in it if it is a directory, unless they
// are persistent. The owner is 0 if it is not known. The lock of the child's set is held.
func (n *node) eachOwner(f func(owner int64)) {
	v := n.branch
	if v == nil {
		if !n.durable {
			f(n.owner)
		}
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, n := range v.sets[0].nodes {
		if n.value != nil || n.branch != nil {
			n.eachOwner(f)
		}
	}
	for _, l := range v.sets[0].lost {
		l.node.eachOwner(f)
	}
}

// findWitnesses finds other records of the owners, in all trees.
func (c *Cache) findWitnesses(owners map[int64]*lostBy) {
	for _, t := range c.views.trees {
		for _, v := range t.sorted() {
			v.mu.Lock()
			s := v.sets[0]
			for name, n := range s.nodes {
				if by := owners[n.owner]; by != nil && !n.gone && len(by.witnesses) < mostWitnesses {
					by.witnesses = append(by.witnesses, witness{v.session, s.path(name)})
				}
			}
			v.mu.Unlock()
		}
	}
}

// forgive lets the losses through whose owners live. asked: all witnesses have been asked for.
func (t *tree) forgive(owners map[int64]*lostBy, asked bool) {
	lives := func(n *node) (lives, known bool) {
		any, all, known := false, true, true
		n.eachOwner(func(owner int64) {
			by := owners[owner]
			any, all = true, all && by != nil && by.lives.Load()
			known = known && (owner == 0 || by != nil && !by.early.Load())
		})
		return any && all, known
	}
	for _, v := range t.sorted() {
		s := v.sets[0]
		v.mu.Lock()
		var names []string
		for name, l := range s.lost {
			if lives, known := lives(l.node); lives {
				names = append(names, name)
			} else if asked && known {
				l.checked = true
				s.lost[name] = l
			}
		}
		v.mu.Unlock()
		if len(names) == 0 {
			continue
		}
		v.change(func() {
			for _, name := range names {
				if l, is := s.lost[name]; is {
					delete(s.lost, name)
					l.node.hide()
					l.node.drop()
				}
			}
			s.moved = 0 // what is left is judged as if it had gone alone
			s.judge()
		})
	}
}

// hasRecords reports whether there is a record in a directory, or in one below it, that the guard would
// count if it went.
func (v *view) hasRecords() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.sets[0]
	for _, n := range s.nodes {
		if s.counts(n) {
			return true
		}
	}
	for _, n := range s.served {
		if s.counts(n) {
			return true
		}
	}
	return false
}

// counts reports whether the guard counts it as a loss if a child goes. v.mu is held.
func (s *set) counts(n *node) bool {
	switch {
	case s.v.branch == nil:
		return n.value != nil
	case n.isDirectory():
		return n.branch.hasRecords()
	default:
		return n.value != nil && (!n.durable || s.renewed)
	}
}
