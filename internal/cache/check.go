package cache

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
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
// it last. So each member of a pinned set is asked for once in checkEvery, and which
// children a set has once a second. Who asks for a fresh answer has all of it checked
// before: a check does not know which members the answer will need.

// checkEvery is how long it takes until each member has been checked again.
const checkEvery = 30 * time.Second

// probe asks whether a member, or with an empty name the list of children, is what is
// held. It is a request of a session.
type probe struct {
	s    *set
	on   *session
	name string
	done func(error)
}

func (p *probe) issue() {
	path := p.s.dir
	if p.name != "" {
		path = p.s.path(p.name)
	}
	p.on.client.ExistsAsync(path, false, func(st zk.Stat, err error) {
		err = p.on.trust(err)
		if passes(err) {
			p.done(translate(err))
		} else {
			p.compare(path, st, err)
			p.done(nil)
		}
		p.on.release()
	})
}

func (p *probe) fail(err error) { p.done(err) }

// compare runs on the dispatcher, after all events of the session that ZooKeeper sent
// before its answer. What is being read will be known, and askAgain sees to what could
// not be.
func (p *probe) compare(path string, st zk.Stat, err error) {
	if err != nil && !errors.Is(err, zk.ErrNoNode) && !errors.Is(err, zk.ErrNoAuth) {
		return // it says nothing of the znode
	}
	s := p.s
	var same, known bool
	var held int64
	var seen instant
	found := st.Mzxid
	s.v.mu.Lock()
	if p.name == "" {
		known = s.listed && s.fault.err == nil && p.on == s.v.session
		held, found = s.pzxid, st.Pzxid
		if same = err == nil && found == held || errors.Is(err, zk.ErrNoNode) && len(s.nodes) == 0; same && known {
			s.seen = p.on.verified()
		}
		seen = s.seen
	} else if n := s.nodes[p.name]; n != nil && n.on == p.on && !n.unread && !n.fault.unwatched {
		known, held = true, n.read
		if same = err == nil && found == held; same {
			n.seen = p.on.verified()
		}
		seen = n.seen
	}
	s.v.mu.Unlock()
	if same || !known {
		return
	}
	p.on.missed(path, held, found, st, err)
	s.v.outdateSince(seen, func() {
		if p.name == "" {
			s.unlist()
		} else if n := s.nodes[p.name]; n != nil && n.on == p.on {
			n.outdate(s.v.lagging())
			if err == nil {
				n.read = min(n.read, found) // what was held may never have been
			}
		}
	})
	if p.name == "" {
		s.readList()
	} else {
		s.get(p.name)
	}
}

// alarmAfter is how long the connection has to last until drift is called so: a server
// that is about to close it drops the watches first, and still answers.
const alarmAfter = 2 * time.Second

// missed counts, and says, that what a watch vouched for is not what ZooKeeper holds. A
// znode whose permissions were never changed has never been hidden from its watch.
func (s *session) missed(path string, held, found int64, st zk.Stat, err error) {
	c := s.c
	if errors.Is(err, zk.ErrNoAuth) || st.Aversion != 0 {
		c.metrics.hidden.Inc()
		c.log.Warn("a znode was changed while it could not be read, which ZooKeeper tells nobody of; it is being read again",
			slog.String("path", path), slog.Int64("held_zxid", held), slog.Int64("zxid", found))
		return
	}
	s.mu.Lock()
	lostAt := s.lostAt
	s.mu.Unlock()
	time.AfterFunc(alarmAfter, func() {
		s.mu.Lock()
		lasts := s.live.Load() && s.lostAt == lostAt
		s.mu.Unlock()
		if lasts {
			c.drifted(path, held, found)
		}
	})
}

// nextChecks are the members to be checked in this second. v.mu is held.
func (s *set) nextChecks() []string {
	if len(s.due) == 0 {
		s.due = slices.Sorted(maps.Keys(s.nodes)) // always in the same order, so that none waits for two rounds
	}
	perSecond := (len(s.nodes) + int(checkEvery/time.Second) - 1) / int(checkEvery/time.Second)
	n := min(perSecond, len(s.due))
	next := s.due[:n]
	if s.due = s.due[n:]; len(s.due) == 0 {
		s.due = nil
	}
	return next
}

// checkSome checks what is due in this second.
func (v *view) checkSome() {
	var probes []*probe
	v.mu.Lock()
	for _, s := range v.sets {
		probes = append(probes, s.probes(s.nextChecks())...)
	}
	v.mu.Unlock()
	startProbing(probes, func(error) {})
}

// probes are those of the list of children and of the members given. v.mu is held.
func (s *set) probes(names []string) []*probe {
	all := []*probe{{s: s, on: s.v.session}}
	for _, name := range names {
		if n := s.nodes[name]; n != nil && n.on != nil && n.on.live.Load() {
			all = append(all, &probe{s: s, on: n.on, name: name})
		}
	}
	return all
}

// check returns once all that the view holds has been compared with what ZooKeeper
// holds since this call began. What is not the same is being read then.
func (v *view) check(ctx context.Context) error {
	return joined(ctx, func(done func(error)) { v.checks.join(v.checkAll, done) })
}

// checkAll makes one check. One that follows another at once waits, so that clients who
// ask for nothing but fresh answers cost ZooKeeper no more than probesPerSecond.
func (v *view) checkAll(done func(error)) {
	var probes []*probe
	v.mu.Lock()
	for _, s := range v.sets {
		probes = append(probes, s.probes(slices.Collect(maps.Keys(s.nodes)))...)
	}
	pause := time.Duration(v.nextCheck - v.c.now())
	v.nextCheck = v.c.now() + instant(max(0, pause)) + instant(time.Second)*instant(len(probes))/probesPerSecond
	v.mu.Unlock()
	if pause <= 0 {
		startProbing(probes, done)
	} else {
		time.AfterFunc(pause, func() { startProbing(probes, done) })
	}
}

const (
	// probesPerSecond bounds the probes of checks that follow each other.
	probesPerSecond = 5000
	// probesInFlight bounds those of one check that wait for a place in flight: changes
	// wait behind no more.
	probesInFlight = 64
)

// probing is a check that is under way.
type probing struct {
	done func(error)

	mu      sync.Mutex
	left    []*probe
	running int
	err     error
	ended   bool
}

// startProbing begins to probe, and calls done once all of it has ended.
func startProbing(probes []*probe, done func(error)) {
	w := &probing{done: done, left: probes}
	for range probesInFlight {
		w.next()
	}
}

// next starts the next probe, or ends the check after the last.
func (w *probing) next() {
	w.mu.Lock()
	if len(w.left) == 0 {
		last := w.running == 0 && !w.ended
		w.ended = w.ended || last
		err := w.err
		w.mu.Unlock()
		if last {
			w.done(err)
		}
		return
	}
	p := w.left[0]
	w.left = w.left[1:]
	w.running++
	w.mu.Unlock()
	p.done = func(err error) {
		w.mu.Lock()
		w.running--
		if err != nil {
			w.err, w.left = err, nil
		}
		w.mu.Unlock()
		w.next()
	}
	p.on.submit(p)
}
