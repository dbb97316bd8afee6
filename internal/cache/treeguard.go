package cache

import (
	"fmt"
	"sync/atomic"
	"time"
)

// The guard of a tree. The guard of a set (guard.go) does not help a tree whose directories have one
// record each: that a single record goes is an ordinary event. If an ensemble loses the sessions of
// all who have registered, each directory loses its one record. So the records of all directories are
// counted as well. If more of them have gone than [Config].ShrinkGuard allows, each directory goes on
// serving what it has lost, until enough records are back or have come in their place, or an operator
// accepts the loss of the whole tree.
//
// It is counted once a second while something has gone, and at once if so many records have gone since then that the guard may
// have to trip. Until it does, directories are served as they are.

// treeGuard is the state of the guard of one tree.
type treeGuard struct {
	// total is how many records there were at the last count, and gone how many have gone
	// since, or had gone by then.
	total, gone atomic.Int64
	// tripped: too many have gone.
	tripped atomic.Bool
	// guarding: at the last count a directory served what it has lost.
	guarding atomic.Bool
	// counting: a count is under way that was not due. verifying: see tree.verify.
	counting, verifying atomic.Bool
}

// lost notes that a record, or a directory, has gone.
func (t *tree) lost() {
	g := &t.guard
	guard := int64(t.c.cfg.ShrinkGuard)
	if gone := g.gone.Add(1); !g.tripped.Load() && gone >= minMembers && gone*100 > guard*g.total.Load() {
		t.judgeNow()
	}
}

// judgeNow is judge on another goroutine, because the caller holds locks.
func (t *tree) judgeNow() {
	if !t.c.isClosed.Load() && !t.guard.counting.Swap(true) {
		t.c.stopped.Go(func() {
			t.guard.counting.Store(false)
			t.judge()
		})
	}
}

// judge counts the records of all directories, and trips or releases the guard.
func (t *tree) judge() {
	c := t.c
	if c.cfg.ShrinkGuard == 0 || t.guard.total.Load() != 0 && t.guard.gone.Load() == 0 && !t.held() {
		return // nothing has gone since the last count
	}
	views := t.sorted()
	have, gone := 0, 0
	last, guarding := instant(0), false
	for _, v := range views {
		v.mu.Lock()
		s := v.sets[0]
		h, g := s.count()
		calm := s.guardedSince != 0 && s.calm() && len(s.lost)*100 <= c.cfg.ShrinkGuard*(len(s.nodes)+len(s.lost))
		last, guarding = max(last, s.moved), guarding || s.guardedSince != 0
		v.mu.Unlock()
		have, gone = have+h, gone+g
		if calm && !t.guard.tripped.Load() {
			v.change(s.judge) // which releases the set
		}
	}
	g := &t.guard
	g.guarding.Store(guarding)
	g.total.Store(int64(have + gone))
	g.gone.Store(int64(gone))
	trips := have+gone >= minMembers && gone*100 > c.cfg.ShrinkGuard*(have+gone)
	if g.tripped.Load() && gone > 0 && time.Duration(c.now()-last) <= c.cfg.lossWindow {
		trips = true // somebody may be restoring one record after the other
	}
	defer t.verify()
	if g.tripped.Swap(trips) == trips {
		return
	}
	if trips {
		err := fmt.Errorf("%d of %d records below %s are gone; too many of them went at once, so all of these go on being served: restore them, or POST /admin/accept%s", gone, have+gone, t.path, t.path)
		c.guardTripped(t.path, err, 0, 0)
	} else {
		c.problems.resolve(t.path)
	}
	for _, v := range views {
		v.mu.Lock()
		any := len(v.sets[0].lost) > 0
		v.mu.Unlock()
		if any {
			v.change(v.sets[0].judge)
		}
	}
}

// held reports whether the guard serves something, or has to let go of something: of the whole tree,
// or of one directory.
func (t *tree) held() bool { return t.guard.tripped.Load() || t.guard.guarding.Load() }

// count returns how many records the set has, and how many have gone from it and from directories
// that have gone. v.mu is held.
func (s *set) count() (have, gone int) {
	s.purge()
	if have = len(s.nodes); s.directories {
		have = 0
		for _, n := range s.nodes {
			if n.value != nil {
				have++
			}
		}
	}
	for _, l := range s.lost {
		if l.node.value != nil {
			gone++
		}
		if v := l.node.branch; v != nil && v.gone() {
			v.mu.Lock()
			h, g := v.sets[0].count()
			v.mu.Unlock()
			gone += h + g
		}
	}
	return have, gone
}

// purge forgets the children that have gone longer than lossWindow ago, unless the guard serves them.
// v.mu is held.
func (s *set) purge() {
	if len(s.lost) == 0 {
		s.order = nil
	}
	if s.guardedSince != 0 || len(s.lost) == 0 {
		return
	}
	now := s.v.c.now()
	for name, l := range s.lost {
		if !l.alone && time.Duration(now-l.noticed) > s.v.c.cfg.lossWindow {
			delete(s.lost, name)
			l.node.drop()
		}
	}
}

// accept lets all losses of the tree through. It reports whether there were any.
func (t *tree) accept() bool {
	if !t.guard.tripped.Swap(false) {
		return false
	}
	for _, v := range t.sorted() {
		v.mu.Lock()
		any := len(v.sets[0].lost) > 0
		v.mu.Unlock()
		if any {
			v.change(v.sets[0].acceptLoss)
		}
	}
	t.c.problems.resolve(t.path)
	return true
}
