package cache

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"magellan/internal/zk"
)

// Checks. A server tells a session nothing of a change of a znode that the session may
// not read at that moment, and its watch is spent all the same (CVE-2024-23944: 3.8.4,
// 3.9.2 and what distributions have patched since). So a znode that is closed, changed
// and opened again goes on being vouched for by a watch that is not there, and one that
// comes into being closed goes on being absent.
//
// Everybody may ask whether a znode exists, and is told the transactions that changed
// it last. So each child of a directory is asked for once in checkEvery, and which
// children a directory has once a second. Who asks for a fresh answer has all of it checked
// before: a check does not know which members the answer will need.

// checkEvery is how long it takes until each member has been checked again.
const checkEvery = 30 * time.Second

// checkList asks whether the children are those that are held. What is being read will
// be known, and askAgain sees to what could not be.
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
		on.missed(s.dir, held, st.Pzxid, st, err)
		s.v.outdateSince(seen, s.unlist)
		s.readList()
	})
}

// checkChild is checkList for what a child holds.
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
		if same {
			n.seen = on.verified()
		}
		s.v.mu.Unlock()
		if same {
			return
		}
		on.missed(path, held, st.Mzxid, st, err)
		s.v.outdateSince(seen, func() {
			n.outdate(s.v.lagging())
			if err == nil {
				n.read = min(n.read, st.Mzxid) // what was held may never have been
			}
		})
		s.get(name)
	})
}

// probeStat asks for the state of a znode. compare runs on the dispatcher, after all
// events of the session that ZooKeeper sent before its answer.
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

// checkSome checks what is due in this second.
func (v *view) checkSome() {
	var checks []*probe
	v.mu.Lock()
	for _, s := range v.sets {
		perSecond := (len(s.nodes) + int(checkEvery/time.Second) - 1) / int(checkEvery/time.Second)
		// Always in the same order, so that none waits for two rounds.
		checks = append(checks, s.checks(s.due.take(perSecond, func() []string { return slices.Sorted(maps.Keys(s.nodes)) }))...)
	}
	v.mu.Unlock()
	startProbing(checks, func(error) {})
}

// checks are those of the list of children and of the members given. v.mu is held.
func (s *set) checks(names []string) []*probe {
	all := []*probe{s.checkList()}
	for _, name := range names {
		if n := s.nodes[name]; n != nil && n.on != nil && n.on.live.Load() {
			all = append(all, s.checkChild(n.on, name))
		}
	}
	return all
}

// check returns once all that the view holds has been compared with what ZooKeeper
// holds since this call began. What is not the same is being read then.
func (v *view) check(ctx context.Context) error {
	return joined(ctx, func(done func(error)) { v.checking.join(v.checkAll, done) })
}

// checksPerSecond bounds the checks that follow each other at once, so that clients who
// ask for nothing but fresh answers cost ZooKeeper no more.
const checksPerSecond = 5000

// checkAll makes one check of all, in its turn.
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
