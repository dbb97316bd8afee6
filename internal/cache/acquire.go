package cache

import (
	"context"
	"errors"
	"strings"
	"unsafe"

	"magellan/internal/discovery"
)

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

// getMissing reads what is not in memory.
func (k *kind) getMissing(ctx context.Context, hash uint64, name string) (unsafe.Pointer, discovery.Meta, error) {
	r, err := k.acquire(ctx, hash, name, false)
	return k.await(ctx, r, err)
}

// acquire returns the entry of a thing and the read to wait for. A read that it starts
// syncs first if sync says so. A thing that cannot be kept is read for this call only.
func (k *kind) acquire(ctx context.Context, hash uint64, name string, sync bool) (reading, error) {
	if err := k.validate(name); err != nil {
		return reading{}, err
	}
	c, path := k.c, k.path(name)
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
		case e != nil && !e.is(k, name):
			return k.readOnce(hash, name, path), nil
		case e != nil:
			if l != nil {
				l.s.promote(l)
			}
			return reading{e: e, l: l}, nil
		}

		s, err := c.sessions.reserve(c, path)
		if errors.Is(err, errNoRoom) {
			return k.readOnce(hash, name, path), nil
		} else if err != nil {
			return reading{}, err
		}
		sh.mu.Lock()
		if sh.find(hash) == nil && sh.leaving[hash] == nil {
			// The caller's name may be a piece of a whole request.
			e = newEntry(k, strings.Clone(name))
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

// readOnce reads a thing that cannot be kept: its hash is taken by another name, or no
// session has room for its watch.
func (k *kind) readOnce(hash uint64, name, path string) reading {
	s := k.c.sessions.any()
	l := &load{s: s, e: newEntry(k, name), hash: hash, path: path, lane: callers, once: true, syncFirst: true, done: make(chan struct{})}
	k.c.metrics.unkept.Inc()
	s.submit(l)
	return reading{e: l.e, l: l, started: true}
}

// await waits for the read, if one is under way, and answers from what it brought. err is
// acquire's.
func (k *kind) await(ctx context.Context, r reading, err error) (unsafe.Pointer, discovery.Meta, error) {
	if err != nil {
		return nil, discovery.Meta{}, err
	}
	rec := r.e.rec.Load()
	if r.l != nil {
		select {
		case <-r.l.done:
		case <-ctx.Done():
			return nil, discovery.Meta{}, ctx.Err()
		}
		if r.l.err != nil {
			return nil, discovery.Meta{}, r.l.err
		}
		rec = r.l.rec
	}
	meta := rec.meta(k.c.now())
	if r.l != nil && (meta.Cache == discovery.Hit || r.l.once) {
		meta.Cache = discovery.Miss
	}
	value, err := k.answer(rec)
	return value, meta, err
}
