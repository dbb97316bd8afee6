package cache

import (
	"context"
	"errors"
	"log/slog"
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
// before.

// checkEvery is how long it takes until each member has been checked.
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
// before its answer.
func (p *probe) compare(path string, st zk.Stat, err error) {
	s := p.s
	s.v.mu.Lock()
	n := s.nodes[p.name]
	var held int64
	var same, pending bool
	if p.name == "" {
		held = s.pzxid
		pending = !s.listed || s.fault.err != nil || p.on != s.v.session
		same = err == nil && st.Pzxid == held || errors.Is(err, zk.ErrNoNode) && len(s.nodes) == 0
		if same && !pending {
			s.seen = p.on.verified()
		}
	} else {
		pending = n == nil || n.on != p.on || n.unread || n.fault.unwatched
		if !pending {
			held = n.read
			if same = err == nil && st.Mzxid == held; same {
				n.seen = p.on.verified()
			}
		}
	}
	s.v.mu.Unlock()
	if same || pending { // what is being read will be known, and askAgain sees to the others
		return
	}
	found := st.Mzxid
	if p.name == "" {
		found = st.Pzxid
	}
	s.v.c.missed(path, held, found, st, err)
	s.v.outdate(func() {
		if p.name == "" {
			if s.listed {
				s.listed, s.lag = false, lag{earlier(s.seen, s.v.outdated), s.v.version}
			}
		} else if n := s.nodes[p.name]; n != nil && n.on == p.on {
			n.outdate(lag{earlier(n.seen, s.v.outdated), s.v.version})
			if err == nil {
				n.read = min(n.read, st.Mzxid) // what was held may never have been
			}
		}
	})
	if p.name == "" {
		s.readList()
	} else {
		s.get(p.name)
	}
}

// missed counts, and says, that what a watch vouched for is not what ZooKeeper holds. A
// znode whose permissions were never changed has never been hidden from its watch.
func (c *Cache) missed(path string, held, found int64, st zk.Stat, err error) {
	if !errors.Is(err, zk.ErrNoAuth) && st.Aversion == 0 {
		c.drifted(path, held, found)
		return
	}
	c.metrics.hidden.Inc()
	c.log.Warn("a znode was changed while it could not be read, which ZooKeeper tells nobody of; it is being read again",
		slog.String("path", path), slog.Int64("held_zxid", held), slog.Int64("zxid", found))
}

// nextChecks are the members to be checked in this second. v.mu is held.
func (s *set) nextChecks() []string {
	if len(s.due) == 0 {
		for name := range s.nodes {
			s.due = append(s.due, name)
		}
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
	for _, s := range v.sets {
		v.mu.Lock()
		probes := s.probes(s.nextChecks())
		v.mu.Unlock()
		for _, p := range probes {
			p.on.submit(p)
		}
	}
}

// probes are those of the list of children and of the members given. v.mu is held.
func (s *set) probes(names []string) []*probe {
	ignore := func(error) {}
	all := []*probe{{s, s.v.session, "", ignore}}
	for _, name := range names {
		if n := s.nodes[name]; n != nil && n.on != nil && n.on.live.Load() {
			all = append(all, &probe{s, n.on, name, ignore})
		}
	}
	return all
}

// check returns once all that the view holds has been compared with what ZooKeeper
// holds since this call began. What is not the same is being read then.
func (v *view) check(ctx context.Context) error {
	return joined(ctx, func(done func(error)) { v.checks.join(v.checkAll, done) })
}

func (v *view) checkAll(done func(error)) {
	var probes []*probe
	v.mu.Lock()
	for _, s := range v.sets {
		names := make([]string, 0, len(s.nodes))
		for name := range s.nodes {
			names = append(names, name)
		}
		probes = append(probes, s.probes(names)...)
	}
	v.mu.Unlock()
	var mu sync.Mutex
	left, failure := len(probes), error(nil)
	for _, p := range probes {
		p.done = func(err error) {
			mu.Lock()
			if err != nil {
				failure = err
			}
			left--
			last := left == 0
			err = failure
			mu.Unlock()
			if last {
				done(err)
			}
		}
		p.on.submit(p)
	}
}
