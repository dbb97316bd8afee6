package cache

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// DefaultAuditRate is what is usual for [Config].AuditRate.
const DefaultAuditRate = 10

// maxAuditScan bounds how many places of the index one second's audit looks at.
const maxAuditScan = 1 << 16

// The audit. Watches keep the cache true, and nobody would know if one did not.
// So znodes are read again, without a watch, by the session whose watch vouches
// for them. Its answers come in order with its watch events: what is vouched for
// when the answer is handled must be what the answer says, whatever changes
// meanwhile. Anything else is drift: a change that no event told of. What was changed
// while it could not be read is told apart, as ZooKeeper tells of no such change: see
// check.go, which finds those in directories sooner. Absent entries are audited more often
// than others, for the same reason: they are mostly few.

// auditLoop audits a slice of the cache each second, all of it in turn.
func (c *Cache) auditLoop() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	at := auditCursor{shard: rand.N(shards)}
	for tick := 0; ; tick++ {
		select {
		case <-c.closing:
			return
		case <-ticker.C:
		}
		for _, e := range at.next(&c.index, c.cfg.AuditRate) {
			c.auditEntry(e)
		}
		for _, e := range c.absent.next(c.cfg.AuditRate) {
			c.auditEntry(e)
		}
		for _, v := range c.views.all {
			v.checkSome()
			v.audit()
		}
	}
}

// auditCursor walks the index.
type auditCursor struct{ shard, slot int }

// next returns up to n entries, the next ones.
func (a *auditCursor) next(x *index, n int) []*entry {
	var found []*entry
	first := a.shard
	for wrapped, scanned := false, 0; len(found) < n && scanned < maxAuditScan; scanned++ {
		t := *x.shards[a.shard].table.Load()
		if a.slot >= len(t) {
			a.shard, a.slot = (a.shard+1)%shards, 0
			if a.shard == first {
				if wrapped {
					break
				}
				wrapped = true
			}
			continue
		}
		if e := t[a.slot].entry.Load(); e != nil {
			found = append(found, e)
		}
		a.slot++
	}
	return found
}

// audit is the audit of one entry, a request of its session.
type audit struct {
	c *Cache
	s *session
	e *entry
}

func (c *Cache) auditEntry(e *entry) {
	rec := e.rec.Load()
	if rec == nil || !rec.vouched() || !rec.epoch.session.live.Load() {
		return
	}
	s := rec.epoch.session
	s.submit(&audit{c, s, e})
}

func (a *audit) issue() {
	a.s.client.GetAsync(a.c.pathOf(a.e), false, func(data []byte, st zk.Stat, err error) {
		a.compare(data, st, err)
		a.s.release()
	})
}

func (a *audit) fail(error) {}

// compare runs on the session's dispatcher, where records are installed and
// watch events handled.
func (a *audit) compare(data []byte, st zk.Stat, err error) {
	c := a.c
	k := c.kindOf(a.e)
	hash := k.hash(a.e.name)
	rec := a.e.rec.Load()
	if !tells(err) || rec == nil || rec.epoch.session != a.s || !rec.vouched() || c.index.entry(hash) != a.e {
		return // its next read is under way, or it has left
	}
	c.metrics.audited.Inc()
	switch {
	case errors.Is(err, zk.ErrNoAuth):
		c.refresh(hash, a.e) // which finds out what is still true
		return
	case err == nil:
		value, bad := k.decode(a.e.name, data, statOf(st))
		if bad != nil {
			value = nil
		}
		if rec.zxid == st.Mzxid && k.same(rec.value, value) {
			return
		}
	case !rec.exists():
		return
	}
	a.s.missed(k.path(a.e.name), rec.zxid, st.Mzxid, st, err)
	if a.e.rec.CompareAndSwap(rec, rec.drifted(st.Mzxid)) {
		c.refresh(hash, a.e)
	}
}

// drifted raises the alarm.
func (c *Cache) drifted(path string, held, found int64) {
	c.metrics.drift.Inc()
	c.log.Error("drift: a watch vouched for what ZooKeeper does not hold; it is being read again, and this is a bug or a lying server, unless it was deleted while it could not be read",
		slog.String("path", path), slog.Int64("held_zxid", held), slog.Int64("zxid", found))
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

// audit compares one child of each set, chosen at random, and now and then the
// list of children.
func (v *view) audit() {
	for _, s := range v.sets {
		on := v.session
		v.mu.Lock()
		name, any := "", false
		skip := rand.N(len(s.nodes) + 1) // one more: the list itself
		for one, n := range s.nodes {
			if skip == 0 {
				name, any, on = one, true, n.on
				break
			}
			skip--
		}
		v.mu.Unlock()
		if on == nil || !on.live.Load() {
			continue
		}
		if any {
			v.submit(on, func(done func(error)) {
				on.client.GetAsync(s.path(name), false, func(data []byte, st zk.Stat, err error) {
					s.auditChild(on, name, data, st, err)
					done(nil)
				})
			})
			continue
		}
		v.submit(on, func(done func(error)) {
			on.client.ChildrenAsync(s.dir, false, func(names []string, _ zk.Stat, err error) {
				s.auditList(names, err)
				done(nil)
			})
		})
	}
}

// auditChild runs on the dispatcher, like auditList.
func (s *set) auditChild(on *session, name string, data []byte, st zk.Stat, err error) {
	if !tells(err) {
		return
	}
	s.v.mu.Lock()
	n := s.nodes[name]
	if n == nil || n.unread || n.fault.unwatched || !s.listed && s.fault.err == nil || n.on != on || !on.live.Load() {
		s.v.mu.Unlock()
		return
	}
	held := *n
	s.v.mu.Unlock()
	s.v.c.metrics.audited.Inc()
	switch {
	case errors.Is(err, zk.ErrNoAuth):
		s.read(name) // which finds out what is still true
		return
	case err != nil || held.read != st.Mzxid:
		s.drifted(on, name, n, &held, st, err)
		return
	}
	// A large list takes longer to decode than events should wait.
	s.v.c.stopped.Go(func() {
		if !s.agrees(&held, name, data, st.Mzxid) {
			s.drifted(on, name, n, &held, st, nil)
		}
	})
}

// agrees reports whether a child as it was held is what its bytes say.
func (s *set) agrees(held *node, name string, data []byte, mzxid int64) bool {
	is, served := held.value, held.zxid
	if held.pending != nil {
		is, served = held.pending, held.pendingZxid
	}
	want, err := s.decode(name, data, mzxid)
	var partial *discovery.PartialError
	return err != nil && !errors.As(err, &partial) || served == mzxid && reflect.DeepEqual(is, want)
}

// drifted has a child read again that is not what it was held to be.
func (s *set) drifted(on *session, name string, n, held *node, st zk.Stat, err error) {
	on.missed(s.path(name), held.read, st.Mzxid, st, err)
	s.v.outdate(func() { n.read = min(n.read, st.Mzxid) })
	s.read(name)
}

func (s *set) auditList(names []string, err error) {
	if !tells(err) {
		return
	}
	s.v.mu.Lock()
	same := len(names) == len(s.nodes)
	for _, name := range names {
		same = same && s.nodes[name] != nil
	}
	// A child that has been deleted leaves when its read finds nothing, which may
	// be before the list says so.
	sure := s.listed && s.v.session.live.Load()
	for _, n := range s.nodes {
		sure = sure && !n.unread
	}
	pzxid := s.pzxid
	s.v.mu.Unlock()
	if !sure {
		return
	}
	s.v.c.metrics.audited.Inc()
	switch {
	case errors.Is(err, zk.ErrNoAuth):
		s.list()
	case !same:
		s.v.c.drifted(s.dir, pzxid, 0)
		s.list()
	}
}
