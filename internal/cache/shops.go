package cache

import (
	"context"
	"errors"
	"hash/maphash"

	"magellan/internal/discovery"
)

// Shop implements discovery.Reader. It allocates nothing for a shop in memory.
func (c *Cache) Shop(ctx context.Context, name string, opt discovery.ReadOptions) (discovery.Shop, discovery.Meta, error) {
	hash := maphash.String(c.seed, name)
	if opt.Fresh {
		return c.fresh(ctx, hash, name)
	}
	if e, rec := c.lookup(hash, name); rec != nil {
		meta := c.serve(e, hash, rec, c.now())
		shop, err := rec.shop(e.name)
		return shop, meta, err
	}
	e, l, err := c.acquire(ctx, hash, name)
	if err != nil {
		return discovery.Shop{}, discovery.Meta{}, err
	}
	return c.await(ctx, e, l)
}

// Shops implements discovery.Reader: shops in memory are answered at once, the
// others are read together.
func (c *Cache) Shops(ctx context.Context, names []string, opt discovery.ReadOptions, out []discovery.ShopRead) {
	type wait struct {
		at int
		e  *entry
		l  *load
	}
	var waits []wait
	now := c.now()
	for i, name := range names {
		r := &out[i]
		*r = discovery.ShopRead{}
		hash := maphash.String(c.seed, name)
		if e, rec := c.lookup(hash, name); rec != nil && !opt.Fresh {
			r.Meta = c.serve(e, hash, rec, now)
			r.Shop, r.Err = rec.shop(e.name)
			continue
		}
		e, l, err := c.acquire(ctx, hash, name)
		if r.Err = err; err == nil {
			waits = append(waits, wait{i, e, l})
		}
	}
	for _, w := range waits {
		r := &out[w.at]
		if opt.Fresh {
			r.Shop, r.Meta, r.Err = c.fresh(ctx, maphash.String(c.seed, names[w.at]), names[w.at])
		} else {
			r.Shop, r.Meta, r.Err = c.await(ctx, w.e, w.l)
		}
	}
}

// lookup finds what is in memory; rec is nil if nothing is.
func (c *Cache) lookup(hash uint64, name string) (*entry, *record) {
	e, ok := c.keep.Get(hash)
	if !ok || e.name != name {
		// Not admitted yet, or not any more.
		if e = c.index.entry(hash); e == nil || e.name != name {
			return nil, nil
		}
	}
	return e, e.rec.Load()
}

// serve counts an answer from memory and sees to it that a record that nothing
// vouches for is read again.
func (c *Cache) serve(e *entry, hash uint64, rec *record, now instant) discovery.Meta {
	e.touch(now)
	meta := rec.meta(now)
	if meta.Cache == discovery.Stale && rec.epoch.session.live.Load() && !c.problems.has(c.cfg.Layout.Shop(e.name)) {
		c.reload(hash, e, true)
	}
	return meta
}

// acquire returns the shop's entry and the read to wait for, nil if the entry
// has been read already. A shop that cannot be kept is read for this call only.
func (c *Cache) acquire(ctx context.Context, hash uint64, name string) (*entry, *load, error) {
	if err := discovery.ValidateName(name); err != nil {
		return nil, nil, err
	}
	path := c.cfg.Layout.Shop(name)
	sh := c.index.shard(hash)
	for {
		sh.mu.Lock()
		e, l, leaving := sh.entries[hash], sh.loads[hash], sh.leaving[hash]
		sh.mu.Unlock()
		switch {
		case leaving != nil:
			select {
			case <-leaving:
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			}
			continue
		case e != nil && e.name != name:
			e, l = c.readOnce(name, path)
			return e, l, nil
		case e != nil:
			if l != nil {
				l.s.promote(l)
			}
			return e, l, nil
		}

		s, err := c.sessions.reserve(c, path)
		if errors.Is(err, errNoRoom) {
			e, l = c.readOnce(name, path)
			return e, l, nil
		} else if err != nil {
			return nil, nil, err
		}
		sh.mu.Lock()
		if sh.entries[hash] == nil && sh.leaving[hash] == nil {
			e = &entry{name: name}
			sh.entries[hash] = e
			l = &load{s: s, e: e, hash: hash, path: path, urgent: true, done: make(chan struct{})}
			l.syncFirst = c.evicted.last(hash) >= s.verified()
			sh.loads[hash] = l
		}
		sh.mu.Unlock()
		if l == nil { // somebody else was quicker
			c.sessions.unreserve(s, path)
			continue
		}
		s.submit(l)
		return e, l, nil
	}
}

// readOnce reads a shop that cannot be kept: its hash is taken by another name,
// or no session has room for its watch.
func (c *Cache) readOnce(name, path string) (*entry, *load) {
	s := c.sessions.any()
	l := &load{s: s, e: &entry{name: name}, path: path, urgent: true, once: true, syncFirst: true, done: make(chan struct{})}
	c.metrics.unkept.Inc()
	s.submit(l)
	return l.e, l
}

// reload reads e again on its own session, which is where its watch was.
func (c *Cache) reload(hash uint64, e *entry, urgent bool) {
	sh := c.index.shard(hash)
	sh.mu.Lock()
	l, rec := sh.loads[hash], e.rec.Load()
	if sh.entries[hash] != e || l == nil && rec == nil {
		sh.mu.Unlock()
		return
	}
	start := l == nil
	if start {
		l = &load{s: rec.epoch.session, e: e, hash: hash, path: c.cfg.Layout.Shop(e.name), urgent: urgent, done: make(chan struct{})}
		sh.loads[hash] = l
	}
	sh.mu.Unlock()
	switch {
	case start:
		l.s.submit(l)
	case urgent:
		l.s.promote(l)
	}
}

// await waits for l, if any, and answers from what it brought.
func (c *Cache) await(ctx context.Context, e *entry, l *load) (discovery.Shop, discovery.Meta, error) {
	if l == nil { // read between lookup and acquire
		rec := e.rec.Load()
		shop, err := rec.shop(e.name)
		return shop, rec.meta(c.now()), err
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		return discovery.Shop{}, discovery.Meta{}, ctx.Err()
	}
	if l.err != nil {
		return discovery.Shop{}, discovery.Meta{}, l.err
	}
	meta := l.rec.meta(c.now())
	if meta.Cache == discovery.Hit || l.once {
		meta.Cache = discovery.Miss
	}
	shop, err := l.rec.shop(e.name)
	return shop, meta, err
}

// fresh answers with what ZooKeeper holds now. Once a sync of the entry's
// session has completed, the watch events of all earlier changes have been
// handled: either the entry is as it should be, or its next read is under way.
func (c *Cache) fresh(ctx context.Context, hash uint64, name string) (discovery.Shop, discovery.Meta, error) {
	none := func(err error) (discovery.Shop, discovery.Meta, error) {
		return discovery.Shop{}, discovery.Meta{}, err
	}
	for range maxTries {
		e, l, err := c.acquire(ctx, hash, name)
		if err != nil {
			return none(err)
		}
		if l != nil {
			if shop, meta, err := c.await(ctx, e, l); l.once || ctx.Err() != nil || l.err != nil {
				return shop, meta, err
			}
		}
		if err := e.rec.Load().epoch.session.syncWait(ctx); err != nil {
			return none(err)
		}
		kept, l := c.index.entryAndLoad(hash)
		if kept != e {
			continue // evicted meanwhile, so nothing watched it
		}
		shop, meta, err := c.await(ctx, e, l)
		if meta.Cache == discovery.Hit {
			meta.Cache = discovery.Miss
		}
		return shop, meta, err
	}
	return none(errOverloaded)
}

// invalidate handles the watch event of a shop, on s's dispatcher goroutine.
func (c *Cache) invalidate(s *session, name string) {
	hash := maphash.String(c.seed, name)
	e := c.index.entry(hash)
	if e == nil || e.name != name {
		return // evicted; the watch was on its way out
	}
	rec := e.rec.Load()
	if rec == nil || rec.epoch.session != s {
		return
	}
	e.rec.Store(rec.superseded(s.verified()))
	c.reload(hash, e, true)
}

// finish installs what a load brought, and wakes those who wait for it.
func (c *Cache) finish(l *load, rec *record, err error) {
	l.rec, l.err = rec, err
	if l.once {
		close(l.done)
		return
	}
	sh := c.index.shard(l.hash)
	sh.mu.Lock()
	delete(sh.loads, l.hash)
	first := l.e.rec.Load() == nil
	kept := sh.entries[l.hash] == l.e
	switch {
	case err == nil:
		l.e.rec.Store(rec)
	case first && kept:
		delete(sh.entries, l.hash)
		kept = false
		c.sessions.unreserve(l.s, l.path)
	}
	removal := l.removal
	sh.mu.Unlock()
	close(l.done)
	switch {
	case err != nil:
		c.metrics.failedLoads.Inc()
	case first && kept:
		c.admit(l.hash, l.e)
	}
	if removal != nil {
		removal.s.submit(removal)
	}
}
