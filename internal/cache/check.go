package cache

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"magellan/internal/zk"
)

// Checks. If a znode changes while a session may not read it, the server sends no event to the
// session, and removes the session's watch all the same. (That is so since the fix of
// CVE-2024-23944: in 3.8.4, 3.9.2 and in what distributions have patched.) Suppose that
// permission to read a znode is taken away, the znode is changed, and permission is given
// back. Then the cache still takes the old value for vouched for, although the watch is gone.
// And a znode that is created without permission to read it stays absent in the cache.
//
// Every session may ask by exists which transactions changed a znode last. So each child of a
// directory is checked once in checkEvery, and which children a directory has is checked once a
// second. Before a fresh answer all of the view is checked, because a check does not know which
// children the answer will need.

// checkEvery is how long it takes to check each child once.
const checkEvery = 30 * time.Second

// checkList checks whether the set has the children that ZooKeeper has. If the children are being
// listed it does nothing, and if they cannot be listed, askAgain lists them once they can be.
func (s *set) checkList() *probe {
	on := s.v.session
	return probeStat(on, s.dir, func(st zk.Stat, err error) {
		s.v.mu.Lock()
		known, held, seen := s.listed && s.fault.err == nil, s.pzxid, s.seen
		same := err == nil && st.Pzxid == held || errors.Is(err, zk.ErrNoNode) && len(s.nodes) == 0
		if known && same {
			s.seen = on.verified()
		}
		s.v.mu.Unlock()
		if !known || same {
			return
		}
		on.missed(s.dir, held, st.Pzxid, hides(st, err))
		s.v.outdateSince(seen, s.unlist)
		s.readList()
	})
}

// checkChild checks whether the set holds what a child holds.
func (s *set) checkChild(on *session, name string) *probe {
	path := s.path(name)
	return probeStat(on, path, func(st zk.Stat, err error) {
		s.v.mu.Lock()
		n := s.nodes[name]
		if n == nil || n.on != on || n.unread || n.fault.unwatched {
			s.v.mu.Unlock()
			return
		}
		held, seen := n.read, n.seen
		same := err == nil && st.Mzxid == held
		if same && n.branch == nil && s.isBranch(st, false) {
			// No event tells that a record has got children, and is a directory now.
			s.v.mu.Unlock()
			s.read(name)
			return
		}
		if same {
			n.seen = on.verified()
		}
		s.v.mu.Unlock()
		if same {
			return
		}
		on.missed(path, held, st.Mzxid, hides(st, err))
		s.v.outdateSince(seen, func() {
			n.outdate(s.v.lagging())
			if err == nil {
				n.read = min(n.read, st.Mzxid) // because ZooKeeper may never have held what the set held
			}
		})
		s.get(name)
	})
}

// probeStat asks for the state of a znode. compare is called on the dispatcher goroutine, after all
// events that ZooKeeper sent to the session before the answer have been handled.
func probeStat(on *session, path string, compare func(st zk.Stat, err error)) *probe {
	return &probe{on: on, read: func(done func(error)) {
		on.client.ExistsAsync(path, false, func(st zk.Stat, err error) {
			if err = on.trust(err); tells(err) {
				compare(st, err)
			}
			if !passes(err) {
				err = nil
			}
			done(err)
		})
	}}
}

// checkSome makes the checks that are due in this second.
func (v *view) checkSome() {
	var checks []*probe
	v.mu.Lock()
	for _, s := range v.sets {
		perSecond := (len(s.nodes) + int(checkEvery/time.Second) - 1) / int(checkEvery/time.Second)
		// Each round has the same order, so that no child has to wait for two rounds.
		checks = append(checks, s.checks(s.due.take(perSecond, func() []string { return slices.Sorted(maps.Keys(s.nodes)) }))...)
	}
	v.mu.Unlock()
	startProbing(checks, func(error) {})
}

// checks returns the checks of the list of children and of the given children. v.mu is held.
func (s *set) checks(names []string) []*probe {
	all := []*probe{s.checkList()}
	for _, name := range names {
		if n := s.nodes[name]; n != nil && n.on != nil && n.on.live.Load() {
			all = append(all, s.checkChild(n.on, name))
		}
	}
	return all
}

// check returns once all that the view holds has been compared with what ZooKeeper held after this
// call began. By then the reads of what is not the same have begun.
func (v *view) check(ctx context.Context) error {
	return joined(ctx, func(done func(error)) { v.checking.join(v.checkAll, done) })
}

// checksPerSecond bounds the rate of the checks for fresh answers, so that clients cannot overload
// ZooKeeper with them.
const checksPerSecond = 5000

// checkAll checks all that the view holds, once, and no sooner than checksPerSecond allows.
func (v *view) checkAll(done func(error)) {
	var checks []*probe
	v.mu.Lock()
	for _, s := range v.sets {
		checks = append(checks, s.checks(slices.Collect(maps.Keys(s.nodes)))...)
	}
	now := v.c.now()
	at := max(now, v.nextCheck)
	v.nextCheck = at + instant(time.Second)*instant(len(checks))/checksPerSecond
	v.mu.Unlock()
	time.AfterFunc(time.Duration(at-now), func() { startProbing(checks, done) })
}
