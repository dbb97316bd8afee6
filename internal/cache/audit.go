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

// DefaultAuditRate is the usual value of [Config].AuditRate.
const DefaultAuditRate = 10

// maxAuditScan is how many slots of the index the audit looks at in one second at most.
const maxAuditScan = 1 << 16

// The audit. Watches keep the cache true, and without the audit nobody would know if an event were
// missing. The audit reads znodes again, without a watch, on the session whose watch vouches for
// them. Answers of a session come in order with its watch events. So if a record is vouched for when
// the answer is handled, the record and the answer must be the same, whatever changes meanwhile. If
// they differ, that is drift: no event has announced a change.
//
// A hidden change is no drift, because ZooKeeper sends no event for a change of a znode that the
// session may not read. See check.go, which finds hidden changes in directories sooner. Absent
// entries are audited more often than others, because changes of them may be hidden too and they
// are mostly few.

// auditLoop audits some of the cache each second, and all of it in turn.
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
			if v.branch == nil {
				v.checkSome()
				v.audit()
			}
		}
		for _, t := range c.views.trees {
			t.checkSome()
			t.audit(c.cfg.AuditRate)
		}
	}
}

// auditCursor walks the index.
type auditCursor struct{ shard, slot int }

// next returns the next entries, at most n.
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

// audit is the audit of one entry. It is a request of the entry's session.
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
	a.c.kindOf(a.e).read(a.s.client, a.c.pathOf(a.e), false, func(data []byte, st zk.Stat, err error) {
		a.compare(data, st, err)
		a.s.release()
	})
}

func (a *audit) fail(error) {}

// compare compares the answer with the record. It runs on the session's dispatcher goroutine, which
// also installs records and handles watch events.
func (a *audit) compare(data []byte, st zk.Stat, err error) {
	c := a.c
	k := c.kindOf(a.e)
	hash := k.hash(a.e.name)
	rec := a.e.rec.Load()
	if !tells(err) || rec == nil || rec.epoch.session != a.s || !rec.vouched() || c.index.entry(hash) != a.e {
		return // its next read is under way, or it has left the cache
	}
	c.metrics.audited.Inc()
	switch {
	case errors.Is(err, zk.ErrNoAuth):
		c.refresh(hash, a.e) // which finds out whether the value is still true
		return
	case err == nil:
		value, bad := k.decode(a.e.name, data, statOf(st))
		if bad != nil {
			value = nil
		}
		if rec.zxid == k.zxidOf(st) && k.same(rec.value, value) {
			return
		}
	case !rec.exists():
		return
	}
	found := k.zxidOf(st)
	a.s.missed(k.path(a.e.name), rec.zxid, found, k.hides(rec.zxid, st, err))
	if a.e.rec.CompareAndSwap(rec, rec.drifted(found)) {
		c.refresh(hash, a.e)
	}
}

// drifted logs and counts drift.
func (c *Cache) drifted(path string, held, found int64) {
	c.metrics.drift.Inc()
	c.log.Error("drift: a watch vouched for what ZooKeeper does not hold; the znode is being read again; this is a bug of magellan or of ZooKeeper, unless the znode was deleted while it could not be read",
		slog.String("path", path), slog.Int64("held_zxid", held), slog.Int64("zxid", found))
}

// alarmAfter is how long the connection has to last before drifted is called, because a server that
// is about to close a connection removes its watches first and still answers.
const alarmAfter = 2 * time.Second

// hides reports whether a change may have been hidden that the answer to a read shows: the znode may
// not be read, or its permissions were changed before.
func hides(st zk.Stat, err error) bool { return errors.Is(err, zk.ErrNoAuth) || st.Aversion != 0 }

// hides is [hides] for what was held of a znode. Of a revocable kind nobody knows which permissions
// the znode had before it was deleted, so its end may have been hidden too.
func (k *kind) hides(held int64, st zk.Stat, err error) bool {
	return hides(st, err) || k.revocable && (errors.Is(err, zk.ErrNoNode) || st.Czxid > held)
}

// missed logs and counts that a watch vouched for something that ZooKeeper does not hold. If the
// change may have been hidden, that is no fault; otherwise it is drift.
func (s *session) missed(path string, held, found int64, hidden bool) {
	c := s.c
	if hidden {
		c.metrics.hidden.Inc()
		c.log.Warn("a znode was changed while it could not be read, and ZooKeeper sends no event for such a change; it is being read again",
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

// audit audits one child of each set, chosen at random, or the list of the children, which is as
// likely as one child.
func (v *view) audit() {
	for _, s := range v.sets {
		on := v.session
		v.mu.Lock()
		name, any := "", false
		skip := rand.N(len(s.nodes) + 1) // one more, for the list itself
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

// auditChild compares the answer with what the set holds of a child. Like auditList it runs on the
// dispatcher goroutine.
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
		s.read(name) // which finds out whether the value is still true
		return
	case err != nil || held.read != st.Mzxid:
		s.drifted(on, name, n, &held, st, err)
		return
	}
	// A large value takes longer to decode than events should have to wait.
	s.v.c.stopped.Go(func() {
		if !s.agrees(&held, name, data, st.Mzxid) {
			s.drifted(on, name, n, &held, st, nil)
		}
	})
}

// agrees reports whether the value that was held of a child is that of its bytes.
func (s *set) agrees(held *node, name string, data []byte, mzxid int64) bool {
	is, served := held.value, held.zxid
	if held.pending != nil {
		is, served = held.pending, held.pendingZxid
	}
	want, err := s.decode(name, data, mzxid)
	var partial *discovery.PartialError
	return err != nil && !errors.As(err, &partial) || served == mzxid && reflect.DeepEqual(is, want)
}

// drifted reads a child again that does not hold what the set held of it.
func (s *set) drifted(on *session, name string, n, held *node, st zk.Stat, err error) {
	on.missed(s.path(name), held.read, st.Mzxid, hides(st, err))
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
	// A child that was deleted leaves the set when its read finds nothing, which may be
	// before the new list of children is read.
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
