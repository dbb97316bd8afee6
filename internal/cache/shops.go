package cache

import (
	"context"
	"errors"
	"hash/maphash"
	"strings"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

// Shop implements shops.Reader. It allocates nothing for a shop in memory.
func (c *Cache) Shop(ctx context.Context, name string, opt discovery.ReadOptions) (shops.Shop, discovery.Meta, error) {
	hash := c.hash(name)
	e, rec := c.lookup(hash, name)
	if rec != nil && opt.MinZxid != 0 {
		rec = e.since(opt.MinZxid)
	}
	switch {
	case opt.Fresh, rec == nil && opt.MinZxid != 0:
		r, err := c.acquire(ctx, hash, name, true)
		return c.fresh(ctx, hash, name, opt, r, err, syncs{})
	case rec != nil:
		meta := c.serve(e, hash, rec, c.now())
		if meta.Cache == discovery.Stale && rec.restored() && rec.epoch.session.live.Load() {
			r, err := c.renewal(ctx, hash, e)
			return c.renewed(ctx, e, r, err, rec)
		}
		shop, err := rec.shop(e.name)
		return shop, meta, err
	}
	r, err := c.acquire(ctx, hash, name, false)
	return c.await(ctx, r, err)
}

// Shops implements shops.Reader: shops in memory are answered at once, the
// others are read together.
func (c *Cache) Shops(ctx context.Context, names []string, opt discovery.ReadOptions, out []shops.ShopRead) {
	type wait struct {
		at  int
		r   reading
		err error
		// e and restored are set for what a snapshot has brought.
		e        *entry
		restored *record
		// evicted: it left the cache while it was waited for.
		evicted bool
	}
	var waits []wait
	var batch batch
	fresh := opt.Fresh || opt.MinZxid != 0
	var done syncs
	if fresh {
		done = syncs{}
	}
	now := c.now()
	for from := 0; from < len(names); from += len(batch.records) {
		names, out := names[from:min(from+len(batch.records), len(names))], out[from:]
		c.lookupBatch(names, &batch)
		for i, name := range names {
			rec := batch.records[i]
			if rec != nil && opt.MinZxid != 0 {
				rec = batch.entries[i].since(opt.MinZxid)
			}
			if rec != nil && !opt.Fresh {
				e := batch.entries[i]
				shop, err := rec.shop(e.name)
				meta := c.serve(e, batch.hashes[i], rec, now)
				out[i] = shops.ShopRead{Shop: shop, Meta: meta, Err: err}
				if meta.Cache == discovery.Stale && rec.restored() && rec.epoch.session.live.Load() {
					r, err := c.renewal(ctx, batch.hashes[i], e)
					waits = append(waits, wait{at: from + i, r: r, err: err, e: e, restored: rec})
				}
				continue
			}
			r, err := c.acquire(ctx, batch.hashes[i], name, fresh)
			if err == nil && fresh && (!r.started || opt.MinZxid != 0) {
				done.start(ctx, r.session(), opt.MinZxid)
			}
			waits = append(waits, wait{at: from + i, r: r, err: err})
		}
	}
	// Whatever has to be read after the syncs is under way before any of it is
	// waited for.
	for i := range waits {
		if w := &waits[i]; fresh && w.err == nil && w.restored == nil {
			w.r, w.evicted, w.err = c.confirm(ctx, c.hash(names[w.at]), opt, w.r, done)
		}
	}
	for _, w := range waits {
		o, name := &out[w.at], names[w.at]
		switch {
		case w.restored != nil:
			o.Shop, o.Meta, o.Err = c.renewed(ctx, w.e, w.r, w.err, w.restored)
		case w.evicted:
			r, err := c.acquire(ctx, c.hash(name), name, true)
			o.Shop, o.Meta, o.Err = c.fresh(ctx, c.hash(name), name, opt, r, err, done)
		case fresh:
			o.Shop, o.Meta, o.Err = c.confirmed(ctx, opt.MinZxid, w.r, w.err)
		default:
			o.Shop, o.Meta, o.Err = c.await(ctx, w.r, w.err)
		}
	}
	if len(waits) == 0 {
		return
	}
	// What was in memory has grown older while the others were waited for.
	waited := time.Duration(c.now() - now)
	for i := range names {
		if len(waits) > 0 && waits[0].at == i {
			waits = waits[1:]
			continue
		}
		out[i].Meta.Age += waited
	}
}

// hash is what the index and ristretto find a shop by.
func (c *Cache) hash(name string) uint64 { return maphash.String(c.seed, name) }

// lookup finds what is in memory; rec is nil if nothing is.
func (c *Cache) lookup(hash uint64, name string) (e *entry, rec *record) {
	if e = c.index.entry(hash); e == nil || e.name != name {
		return nil, nil
	}
	return e, e.rec.Load()
}

// batch is what lookupBatch finds.
type batch struct {
	hashes  [64]uint64
	entries [64]*entry
	// records has nil for a shop that is not in memory.
	records [64]*record
	touched int64
}

// lookupBatch is lookup for up to 64 names. With a million shops each step of a
// look-up (slot, entry, name and record) misses the processor's caches. Done
// one step at a time for all names, the misses of a step overlap; BenchmarkShops
// beside BenchmarkShop shows what that is worth.
func (c *Cache) lookupBatch(names []string, b *batch) {
	touched := int64(0)
	for i, name := range names {
		hash := c.hash(name)
		b.hashes[i] = hash
		t := *c.index.shard(hash).table.Load()
		touched += int64(t[t.home(hash)].hash.Load())
	}
	for i := range names {
		e := c.index.entry(b.hashes[i])
		b.entries[i] = e
		if e != nil {
			touched += int64(len(e.name))
		}
	}
	for i := range names {
		b.records[i] = nil
		if e := b.entries[i]; e != nil && e.name != "" {
			touched += int64(e.name[0])
			if rec := e.rec.Load(); rec != nil {
				touched += rec.zxid
				b.records[i] = rec
			}
		}
	}
	for i, name := range names {
		if b.records[i] != nil && b.entries[i].name != name {
			b.records[i] = nil
		}
	}
	b.touched = touched // or the compiler would leave the loads out
}

// serve counts an answer from memory and sees to it that a record that nothing
// vouches for is read again.
func (c *Cache) serve(e *entry, hash uint64, rec *record, now instant) discovery.Meta {
	first := e.touch(now)
	if first {
		c.keep.Get(hash)
	}
	meta := rec.meta(now)
	// What cannot be served is read again once a second at most: a znode that may not
	// be read has no watch that would tell when it may.
	if meta.Cache != discovery.Hit && rec.epoch.session.live.Load() && (first || rec.doubt == 0 || rec.restored() && rec.epoch.ended.Load() != 0) {
		c.refresh(hash, e)
	}
	return meta
}

// reading is an entry and the read of it to wait for.
type reading struct {
	e *entry
	// l is nil if nothing is under way: the entry has been read.
	l *load
	// started: by this call, not by an earlier one.
	started bool
}

// session is the one that the entry belongs to, for good.
func (r *reading) session() *session {
	if r.l != nil {
		return r.l.s
	}
	return r.e.rec.Load().epoch.session
}

// acquire returns the shop's entry and the read to wait for. A read that it
// starts syncs first if sync says so. A shop that cannot be kept is read for
// this call only.
func (c *Cache) acquire(ctx context.Context, hash uint64, name string, sync bool) (reading, error) {
	if err := discovery.ValidateName(name); err != nil {
		return reading{}, err
	}
	path := c.cfg.Layout.Shop(name)
	sh := c.index.shard(hash)
	for {
		sh.mu.Lock()
		e, l, leaving := sh.find(hash), sh.loads[hash], sh.leaving[hash]
		sh.mu.Unlock()
		switch {
		case leaving != nil:
			select {
			case <-leaving:
			case <-ctx.Done():
				return reading{}, ctx.Err()
			}
			continue
		case e != nil && e.name != name:
			return c.readOnce(hash, name, path), nil
		case e != nil:
			if l != nil {
				l.s.promote(l)
			}
			return reading{e: e, l: l}, nil
		}

		s, err := c.sessions.reserve(c, path)
		if errors.Is(err, errNoRoom) {
			return c.readOnce(hash, name, path), nil
		} else if err != nil {
			return reading{}, err
		}
		sh.mu.Lock()
		if sh.find(hash) == nil && sh.leaving[hash] == nil {
			// The caller's name may be a piece of a whole request.
			e = &entry{name: strings.Clone(name)}
			l = &load{s: s, e: e, hash: hash, path: path, lane: callers, done: make(chan struct{})}
			l.syncFirst = sync || c.evicted.last(hash) >= s.verified()
			sh.insert(hash, e)
			sh.loads[hash] = l
		}
		sh.mu.Unlock()
		if l == nil { // somebody else was quicker
			c.sessions.unreserve(s, path)
			continue
		}
		s.submit(l)
		return reading{e: e, l: l, started: true}, nil
	}
}

// readOnce reads a shop that cannot be kept: its hash is taken by another name,
// or no session has room for its watch.
func (c *Cache) readOnce(hash uint64, name, path string) reading {
	s := c.sessions.any()
	l := &load{s: s, e: &entry{name: name}, hash: hash, path: path, lane: callers, once: true, syncFirst: true, done: make(chan struct{})}
	c.metrics.unkept.Inc()
	s.submit(l)
	return reading{e: l.e, l: l, started: true}
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
		l = &load{s: rec.epoch.session, e: e, hash: hash, path: c.cfg.Layout.Shop(e.name), lane: of, done: make(chan struct{})}
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

// await waits for the read, if any is under way, and answers from what it
// brought. err is acquire's.
func (c *Cache) await(ctx context.Context, r reading, err error) (shops.Shop, discovery.Meta, error) {
	if err != nil {
		return shops.Shop{}, discovery.Meta{}, err
	}
	rec := r.e.rec.Load()
	if r.l != nil {
		select {
		case <-r.l.done:
		case <-ctx.Done():
			return shops.Shop{}, discovery.Meta{}, ctx.Err()
		}
		if r.l.err != nil {
			return shops.Shop{}, discovery.Meta{}, r.l.err
		}
		rec = r.l.rec
	}
	meta := rec.meta(c.now())
	if r.l != nil && (meta.Cache == discovery.Hit || r.l.once) {
		meta.Cache = discovery.Miss
	}
	shop, err := rec.shop(r.e.name)
	return shop, meta, err
}

// fresh answers with what ZooKeeper holds now, or at opt.MinZxid. r and err are
// acquire's, and done has the syncs since the call began.
func (c *Cache) fresh(ctx context.Context, hash uint64, name string, opt discovery.ReadOptions, r reading, err error, done syncs) (shops.Shop, discovery.Meta, error) {
	for range maxTries {
		evicted := false
		if err == nil {
			r, evicted, err = c.confirm(ctx, hash, opt, r, done)
		}
		if !evicted {
			return c.confirmed(ctx, opt.MinZxid, r, err)
		}
		r, err = c.acquire(ctx, hash, name, true)
	}
	return shops.Shop{}, discovery.Meta{}, errOverloaded
}

// confirm waits until the state that r is of is known to be new enough: r's own
// read began with a sync, or, where the entry is in memory, there is a sync of its
// session. Once that has completed, the watch events of all earlier changes have been
// handled: the entry is as it should be, or its next read is under way, or begins here.
// For opt.Fresh it begins in any case, as there are changes of which no event tells.
// It returns what to answer from. evicted says that there is none: nothing watched
// the entry while the sync was under way.
func (c *Cache) confirm(ctx context.Context, hash uint64, opt discovery.ReadOptions, r reading, done syncs) (is reading, evicted bool, err error) {
	if r.l != nil {
		select {
		case <-r.l.done:
		case <-ctx.Done():
			return reading{}, false, ctx.Err()
		}
		if r.l.err != nil {
			return reading{}, false, r.l.err
		}
		if r.started && (r.l.zxid == 0 || r.l.zxid >= opt.MinZxid) {
			return r, false, nil
		}
	}
	if err := done.wait(ctx, r.session(), opt.MinZxid); err != nil {
		return reading{}, false, err
	}
	kept, l := c.index.entryAndLoad(hash)
	if kept != r.e {
		return reading{}, true, nil
	}
	if opt.Fresh || l != nil || !kept.rec.Load().vouched() {
		if l = c.reload(hash, kept, callers); l == nil {
			return reading{}, true, nil
		}
	}
	return reading{e: kept, l: l}, false, nil
}

// confirmed answers from what confirm returned.
func (c *Cache) confirmed(ctx context.Context, minZxid int64, r reading, err error) (shops.Shop, discovery.Meta, error) {
	shop, meta, err := c.await(ctx, r, err)
	if meta.Cache == discovery.Hit {
		meta.Cache = discovery.Miss
	}
	return reached(minZxid, shop, meta, err)
}

// invalidate handles the watch event of a shop, on s's dispatcher goroutine.
func (c *Cache) invalidate(s *session, name string) {
	hash := c.hash(name)
	e := c.index.entry(hash)
	if e == nil || e.name != name {
		return // evicted; the watch was on its way out
	}
	rec := e.rec.Load()
	if rec == nil || rec.epoch.session != s {
		return
	}
	c.notify.expect(name)
	e.rec.Store(rec.superseded(s.verified()))
	c.refresh(hash, e)
}

// finish installs what a load brought, and wakes those who wait for it: first
// those who watch the shop, so that who begins to after an answer is not told of
// what the answer was made of.
func (c *Cache) finish(l *load, rec *record, err error) {
	l.rec, l.err = rec, err
	if l.once {
		c.evicted.note(l.hash, c.now()) // whoever keeps it next must not be behind
		close(l.done)
		c.notify.lookAgain(l.e.name)
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
		c.notify.lookAgain(l.e.name)
	} else {
		c.notify.installed(l.e.name, was, rec)
		close(l.done)
		if kept && (first || rec.zxid != 0 && c.absent.remove(l.hash, l.e)) {
			c.settle(l.hash, l.e)
		}
	}
	if removal != nil {
		removal.s.submit(removal)
	}
}
