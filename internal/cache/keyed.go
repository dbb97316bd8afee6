package cache

import (
	"context"
	"unsafe"

	"magellan/internal/discovery"
)

// Get implements [discovery.KeyedReader].
func (k *Keyed[T]) Get(ctx context.Context, name string, opt discovery.ReadOptions) (*T, discovery.Meta, error) {
	value, meta, err := k.k.get(ctx, name, opt)
	return (*T)(value), meta, err
}

// get answers from memory if it can. This is the path of a hit. Each rarer way leaves it once:
// getMissing is in acquire.go, getFresh in confirm.go, and getRestored in restored.go.
func (k *kind) get(ctx context.Context, name string, opt discovery.ReadOptions) (unsafe.Pointer, discovery.Meta, error) {
	hash := k.hash(name)
	e, rec := k.lookup(hash, name)
	if rec != nil && opt.MinZxid != 0 {
		rec = e.reaches(opt.MinZxid)
	}
	switch {
	case opt.Fresh, rec == nil && opt.MinZxid != 0:
		return k.getFresh(ctx, hash, name, opt)
	case rec == nil:
		return k.getMissing(ctx, hash, name)
	}
	meta := k.c.serve(e, hash, rec, k.c.now())
	if rec.renewable(meta) {
		return k.getRestored(ctx, hash, e, rec)
	}
	value, err := k.answer(rec)
	return value, meta, err
}

// lookup finds what is in memory; rec is nil if nothing is.
func (k *kind) lookup(hash uint64, name string) (e *entry, rec *record) {
	if e = k.c.index.entry(hash); e == nil || !e.is(k, name) {
		return nil, nil
	}
	return e, e.rec.Load()
}

// serve counts an answer from memory. If no watch vouches for the record, the entry is
// read again.
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

// answer is what a record says.
func (k *kind) answer(r *record) (unsafe.Pointer, error) {
	switch {
	case r.value != nil:
		return r.value, nil
	case r.zxid == 0:
		return nil, discovery.ErrNotFound
	case r.isUnread():
		return nil, k.errUnread
	default:
		return nil, discovery.ErrBadData
	}
}
