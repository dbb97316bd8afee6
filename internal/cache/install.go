package cache

import "errors"

// invalidate handles the watch event of a thing, on s's dispatcher goroutine.
func (k *kind) invalidate(s *session, name string) {
	c, hash := k.c, k.hash(name)
	e := c.index.entry(hash)
	if e == nil || !e.is(k, name) {
		return // evicted; the watch was on its way out
	}
	rec := e.rec.Load()
	if rec == nil || rec.epoch.session != s {
		return
	}
	c.notify.expect(k.topic(name))
	e.rec.Store(rec.superseded(s.verified()))
	c.refresh(hash, e)
}

// refresh has e read again though no caller waits for it. Where many such reads are
// queued already it leaves e to revalidation.
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

// reload reads e again on its own session, which is where its watch was. It
// returns the read, nil if e has left. The lane is that of a read that is not under
// way yet; one that is under way is promoted if a caller comes to wait for it.
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

// finish installs what a load brought, and wakes those who wait for it: first
// those who watch the thing, and then those who wait for the answer. So nobody is told of
// a change that the answer they hold already contains.
func (c *Cache) finish(l *load, rec *record, err error) {
	l.rec, l.err = rec, err
	if l.once {
		c.evicted.note(l.hash, c.now()) // whoever keeps it next must not be behind
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
		l.e.rec.CompareAndSwap(was, was.unserved(l.s.epoch.Load(), 0)) // the record knows since when
	}
	removal := l.removal
	sh.mu.Unlock()
	if err != nil {
		c.metrics.failedLoads.Inc()
		if !first && (errors.Is(err, errOverloaded) || transient(err)) {
			l.s.mu.Lock() // it may be why a round passed the entry over
			l.s.revalidate(false)
			l.s.mu.Unlock()
		}
		close(l.done)
		c.notify.lookAgain(l.topic())
	} else {
		c.notify.installed(l.e, was, rec)
		close(l.done)
		if kept && (first || rec.exists() && c.absent.remove(l.hash, l.e)) {
			c.settle(l.hash, l.e)
		}
	}
	if removal != nil {
		removal.s.submit(removal)
	}
}
