package cache

import (
	"context"
	"errors"
	"unsafe"

	"magellan/internal/discovery"
)

// restored reports whether a snapshot has brought the record: it was last known to be
// true before this process began.
func (r *record) restored() bool { return r.doubt < 0 }

// renewable reports whether a snapshot has brought the record and ZooKeeper is there, so that
// the znode should be read before it is answered from.
func (r *record) renewable(meta discovery.Meta) bool {
	return meta.Cache == discovery.Stale && r.restored() && r.epoch.session.live.Load()
}

// getRestored answers for an entry that a snapshot has brought while ZooKeeper is there.
func (k *kind) getRestored(ctx context.Context, hash uint64, e *entry, rec *record) (unsafe.Pointer, discovery.Meta, error) {
	r, err := k.renewal(ctx, hash, e)
	return k.renewed(ctx, r, err, rec)
}

// renewal has an entry that the snapshot has brought read.
func (k *kind) renewal(ctx context.Context, hash uint64, e *entry) (reading, error) {
	if l := k.c.reload(hash, e, callers); l != nil {
		return reading{e: e, l: l}, nil
	}
	return k.acquire(ctx, hash, e.name, false)
}

// renewed answers with what ZooKeeper says, or, if no answer comes, with the snapshot's
// record. r and err are renewal's.
func (k *kind) renewed(ctx context.Context, r reading, err error, rec *record) (unsafe.Pointer, discovery.Meta, error) {
	value, meta, err := k.await(ctx, r, err)
	if err == nil || errors.Is(err, discovery.ErrNotFound) || errors.Is(err, discovery.ErrBadData) || ctx.Err() != nil {
		return value, meta, err
	}
	value, err = k.answer(rec)
	return value, rec.meta(k.c.now()), err
}
