package cache

import (
	"context"
	"errors"
	"unsafe"

	"magellan/internal/discovery"
)

// getFresh answers with what ZooKeeper holds now, or at opt.MinZxid.
func (k *kind) getFresh(ctx context.Context, hash uint64, name string, opt discovery.ReadOptions) (unsafe.Pointer, discovery.Meta, error) {
	r, err := k.acquire(ctx, hash, name, true)
	return k.fresh(ctx, hash, name, opt, r, err, syncs{})
}

// fresh is getFresh for an entry that is being read already. r and err are acquire's, and
// done has the syncs since the call began.
func (k *kind) fresh(ctx context.Context, hash uint64, name string, opt discovery.ReadOptions, r reading, err error, done syncs) (unsafe.Pointer, discovery.Meta, error) {
	for range maxTries {
		evicted := false
		if err == nil {
			r, evicted, err = k.confirm(ctx, hash, opt, r, done)
		}
		if !evicted {
			return k.confirmed(ctx, opt.MinZxid, r, err)
		}
		r, err = k.acquire(ctx, hash, name, true)
	}
	return nil, discovery.Meta{}, errOverloaded
}

// confirm waits until the state that r is of is known to be new enough. Either r's own
// read began with a sync, or, if the entry is in memory, its session syncs now. Once that
// sync has completed, the watch events of all earlier changes have been handled: the entry
// is as it should be, or its next read is under way or begins here. For opt.Fresh a read
// begins in any case, because there are changes of which no event tells.
//
// It returns what to answer from. evicted says that there is nothing, because no watch held
// the entry true while the sync was under way.
func (k *kind) confirm(ctx context.Context, hash uint64, opt discovery.ReadOptions, r reading, done syncs) (is reading, evicted bool, err error) {
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
	kept, l := k.c.index.entryAndLoad(hash)
	if kept != r.e {
		return reading{}, true, nil
	}
	if opt.Fresh || l != nil || !kept.rec.Load().vouched() {
		if l = k.c.reload(hash, kept, callers); l == nil {
			return reading{}, true, nil
		}
	}
	return reading{e: kept, l: l}, false, nil
}

// confirmed answers from what confirm returned.
func (k *kind) confirmed(ctx context.Context, minZxid int64, r reading, err error) (unsafe.Pointer, discovery.Meta, error) {
	value, meta, err := k.await(ctx, r, err)
	if meta.Cache == discovery.Hit {
		meta.Cache = discovery.Miss
	}
	if k.children && errors.Is(err, discovery.ErrNotFound) {
		return value, meta, err // it was read just now, and is Stale because nothing will announce it
	}
	return reached(minZxid, value, meta, err)
}
