package cache

import (
	"context"

	"magellan/internal/discovery"
)

// Get implements [discovery.ViewReader]. It returns at once what is published, unless that
// does not hold a transaction that is asked for, must be fresh, or is not known yet.
func (r *View[S]) Get(ctx context.Context, opt discovery.ReadOptions) (*S, discovery.Meta, error) {
	v := r.v
	fresh := opt.Fresh || opt.MinZxid != 0 && !v.reaches(opt.MinZxid)
	status := discovery.Hit
	switch {
	case fresh:
		status = discovery.Miss
		if err := v.freshen(ctx, opt); err != nil {
			return nil, discovery.Meta{}, err
		}
	case v.dirty.Load() < 0 && v.session.live.Load():
		status = discovery.Miss
		v.renew(ctx)
	}
	var value *S
	var meta discovery.Meta
	for {
		// The meta data comes first: a value that is published in between is only better
		// than the meta data says.
		meta = v.meta(v.c.now())
		if value = r.current.Load(); value != nil {
			break
		}
		status = discovery.Miss
		if err := v.wait(ctx, false); err != nil {
			return nil, discovery.Meta{}, err
		}
	}
	meta.Zxid = r.zxid(value)
	meta.Cache = max(meta.Cache, status)
	if fresh {
		return reached(opt.MinZxid, value, meta, nil)
	}
	return value, meta, nil
}

// freshen returns once what is published is as fresh as is asked for: after a sync, and a
// check of all that is held if it must be what ZooKeeper holds now.
func (v *view) freshen(ctx context.Context, opt discovery.ReadOptions) error {
	if err := v.catchUp(ctx, opt.MinZxid); err != nil {
		return err
	}
	if opt.Fresh {
		if err := v.check(ctx); err != nil {
			return err
		}
	}
	if v.c.views.root.gone.Load() { // what is not known will not be before the root is back
		return translate(v.c.views.noRoot())
	}
	return v.wait(ctx, true)
}

// renew waits for ZooKeeper, which is there, to replace what a snapshot has brought. If it
// does not answer in time, the snapshot's value is served.
func (v *view) renew(ctx context.Context) {
	first, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	_ = v.wait(first, true)
}
