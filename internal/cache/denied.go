package cache

import (
	"time"

	"magellan/internal/zk"
)

// What may not be read. ZooKeeper does not tell when a directory may be listed again, or a child be read
// again, so that the set asks once a second. Meanwhile ZooKeeper tells everybody by exists which
// transaction changed a znode last, which may prove that what is held is still true. See fault.go for
// what is answered meanwhile.

// onUnlistable notes that the children may not be listed. It asks all the same whether there are
// others than before: see onDenied.
func (s *set) onUnlistable(denied error, done func(error)) {
	on := s.v.session
	on.client.ExistsAsync(s.dir, false, func(st zk.Stat, err error) {
		if err = on.trust(err); passes(err) {
			done(err)
			return
		}
		s.v.mu.Lock()
		current := err == nil && s.whole && st.Pzxid == s.pzxid
		known := s.fault.err != nil && s.v.dirty.Load() == 0 && !(current && on.provesLater(s.fault.since))
		s.v.mu.Unlock()
		if known { // askAgain asks for it each second
			done(nil)
			return
		}
		s.v.change(func() {
			switch {
			case !s.whole:
			case current:
				s.fault.since = on.verified()
			case s.fault.err == nil:
				s.fault.since = s.lag.since
			}
			s.fault.err, s.fault.unwatched, s.unwatched = denied, true, true
			for name, n := range s.nodes {
				if n.gone { // no list will tell of it
					s.lose(name)
				}
			}
			s.judge()
			s.v.c.problems.report(s.dir, s.unlistable(), 0, s.accepted)
		})
		done(nil)
	})
}

// onDenied notes that a child may not be read, or cannot be for another reason of whose end no
// event will tell. It asks all the same which bytes the child holds, because ZooKeeper tells
// everybody the transaction that wrote them.
func (s *set) onDenied(on *session, name string, denied error, done func(error)) {
	on.client.ExistsAsync(s.path(name), false, func(st zk.Stat, err error) {
		if err = on.trust(err); passes(err) {
			done(err)
			return
		}
		// The child may still hold what is served.
		current := func(n *node) bool { return n.value != nil && n.zxid == st.Mzxid && n.pending == nil }
		s.v.mu.Lock()
		n := s.nodes[name]
		known := n == nil || n.on != on || !n.unread && n.fault.unwatched && n.read == st.Mzxid && !(current(n) && on.provesLater(n.fault.since))
		s.v.mu.Unlock()
		var branch *view
		if !known { // askAgain asks for it each second
			s.v.change(func() {
				if n := s.nodes[name]; n != nil && n.on == on {
					if err == nil && st.NumChildren > 0 && s.isBranch(st, false) {
						// It is a directory, whose bytes do not matter.
						if branch = s.readBranch(name, n, denied, st); branch != nil {
							s.v.vouch(on)
							return
						}
					}
					s.spoil(name, n, denied, st.Mzxid)
					if current(n) {
						n.fault.since = on.verified()
					}
					n.fault.unwatched, s.unwatched = true, true
					s.v.vouch(on)
				}
			})
		}
		if branch != nil {
			branch.sets[0].found(on)
		}
		done(nil)
	})
}

// provenEvery is how often it is published that a child that may not be read has not changed.
const provenEvery = 5 * time.Second

// provesLater reports whether an answer that the session has given now is worth publishing as a
// proof, if the last proof is of an earlier instant.
func (s *session) provesLater(last instant) bool { return s.verified()-last >= instant(provenEvery) }

// askAgain reads once more what could not be read, because no event tells when it can be: each
// second at most, and less often if that takes longer. It runs on the goroutine of views.ask.
func (s *set) askAgain() {
	var asks []*probe
	var homeless []string
	s.v.mu.Lock()
	if !s.asking && s.unwatched {
		s.unwatched = s.fault.unwatched
		if own := s.v.session; s.fault.unwatched && own.live.Load() {
			asks = append(asks, &probe{on: own, read: s.issueList})
		}
		for name, n := range s.nodes {
			s.unwatched = s.unwatched || n.fault.unwatched
			switch on := n.on; {
			case !n.fault.unwatched || n.unread:
			case on == nil:
				homeless = append(homeless, name)
			case on.live.Load():
				asks = append(asks, &probe{on: on, read: func(done func(error)) { s.issueGet(on, name, done) }})
			}
		}
		s.asking = len(asks) > 0
	}
	s.v.mu.Unlock()
	for _, name := range homeless {
		s.get(name)
	}
	if len(asks) > 0 {
		startProbing(asks, func(error) {
			s.v.mu.Lock()
			s.asking = false
			s.v.mu.Unlock()
		})
	}
}
