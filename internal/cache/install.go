package cache

import "errors"

// invalidate handles the watch event of a thing, on s's dispatcher goroutine.
func (k *kind) invalidate(s *session, name string) {
	c, hash := k.c, k.hash(name)
	e := c.index.entry(hash)
	if e == nil || !e.is(k, name) {
		return // the entry was evicted, and its watch had not been removed yet
	}
	rec := e.rec.Load()
	if rec == nil || rec.epoch.session != s {
		return
	}
	c.notify.expect(k.topic(name))
	e.rec.Store(rec.superseded(s.verified()))
	c.refresh(hash, e)
}

// refresh begins to read e again although no caller waits for it. If very many such reads are
// queued already, it leaves e to revalidation.
func (c *Cache) refresh(hash uint64, e *entry) {
	s := e.rec.Load().epoch.session
	s.mu.Lock()
	full := s.waiting[upkeep].len() >= maxUpkeep
	if full {
		s.revalidate(false)
	}
	s.mu.Unlock()
	if !full {
		c.reload(hash, e, upkeep)
	}
}

// reload begins to read e again on its own session, which is where its watch was, and returns
// the read. It returns nil if e is not in the cache any more. of is the lane of a read that
// begins now. If a read is under way already and of is callers, that read is promoted.
func (c *Cache) reload(hash uint64, e *entry, of lane) *load {
	sh := c.index.shard(hash)
	sh.mu.Lock()
	l, rec := sh.loads[hash], e.rec.Load()
	if sh.find(hash) != e || l == nil && rec == nil {
		sh.mu.Unlock()
		return nil
	}
	start := l == nil
	if start {
		l = &load{s: rec.epoch.session, e: e, hash: hash, path: c.pathOf(e), lane: of, done: make(chan struct{})}
		sh.loads[hash] = l
	}
	sh.mu.Unlock()
	switch {
	case start:
		l.s.submit(l)
	case of == callers:
		l.s.promote(l)
	}
	return l
}

// finish installs what a load brought. It notifies the observers of the thing, and then wakes
// the callers that wait for the load. So no caller is notified of a change that the caller's
// answer contains already.
func (c *Cache) finish(l *load, rec *record, err error) {
	l.rec, l.err = rec, err
	if l.once {
		c.evicted.note(l.hash, c.now()) // because the session that keeps it next must have synced since
		close(l.done)
		c.notify.lookAgain(l.topic())
		return
	}
	sh := c.index.shard(l.hash)
	sh.mu.Lock()
	delete(sh.loads, l.hash)
	was := l.e.rec.Load()
	first := was == nil
	kept := sh.find(l.hash) == l.e
	switch {
	case err == nil:
		l.e.rec.Store(rec)
	case first && kept:
		sh.remove(l.hash)
		kept = false
		c.sessions.unreserve(l.s, l.path)
	case !first && !was.vouched():
		l.e.rec.CompareAndSwap(was, was.unserved(l.s.epoch.Load(), 0)) // the record or its epoch has since when it is in doubt
	}
	removal := l.removal
	sh.mu.Unlock()
	if err != nil {
		c.metrics.failedLoads.Inc()
		if !first && (errors.Is(err, errOverloaded) || transient(err)) {
			l.s.mu.Lock() // because a round may have passed over the entry while this load was under way
			l.s.revalidate(false)
			l.s.mu.Unlock()
		}
		close(l.done)
		c.notify.lookAgain(l.topic())
	} else {
		c.notify.installed(l.e, was, rec)
		close(l.done)
		switch k := l.kind(); {
		case !kept:
		case first, rec.exists() && c.absent.remove(l.hash, l.e):
			c.settle(l.hash, l.e)
		case k.sizeOf(rec) != k.sizeOf(was):
			c.resize(l.hash, l.e)
		}
	}
	if removal != nil {
		removal.s.submit(removal)
	}
}
