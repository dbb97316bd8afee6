package cache

import (
	"errors"
	"fmt"

	"magellan/internal/discovery"
)

// since returns the record if it is known to be of a state that has the
// transaction in it, else nil.
//
// All watch events up to the session's settled transaction have been handled: what
// is still vouched for is as new as that. The order is what counts here, first the
// session, then the record.
func (e *entry) since(zxid int64) *record {
	rec := e.rec.Load()
	if rec == nil || rec.zxid >= zxid {
		return rec
	}
	if rec.epoch.session.client.SettledZxid() < zxid {
		return nil
	}
	if rec = e.rec.Load(); rec == nil || !rec.vouched() {
		return nil
	}
	return rec
}

// since is entry.since for a snapshot of the view.
func (v *view) since(zxid int64) bool {
	return v.session.client.SettledZxid() >= zxid && v.dirty.Load() == 0 && v.epoch.Load().ended.Load() == 0
}

// reached passes on what was read after a sync of s, unless the least zxid asked
// for is not in it. Where libzookeeper does not tell how far the session is, the
// sync has to do: it reaches every transaction that was committed before it.
func reached[T any](s *session, minZxid int64, value T, meta discovery.Meta, err error) (T, discovery.Meta, error) {
	var none T
	if minZxid == 0 || meta.Zxid >= minZxid || err != nil && !errors.Is(err, discovery.ErrNotFound) && !errors.Is(err, discovery.ErrBadData) {
		return value, meta, err
	}
	if at := s.client.Zxid(); at != 0 && at < minZxid {
		return none, discovery.Meta{}, fmt.Errorf("%w: ZooKeeper has come to %#x and not to %#x: is that from another ensemble?",
			discovery.ErrZxidNotReached, at, minZxid)
	}
	if meta.Cache == discovery.Stale {
		return none, meta, fmt.Errorf("%w: what ZooKeeper has held since %#x cannot be served; /admin/problems says why",
			discovery.ErrUnavailable, minZxid)
	}
	return value, meta, err
}
