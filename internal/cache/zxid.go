package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"magellan/internal/discovery"
)

// reaches returns the record if it is known to be of a state that has the transaction in it,
// and nil otherwise.
//
// All watch events up to the session's settled transaction have been handled. So a record that
// is still vouched for after the settled transaction was read is at least as new as that.
// Therefore reaches first asks the session, and then looks at the record.
func (e *entry) reaches(zxid int64) *record {
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

// reaches is entry.reaches for the published value of the view.
func (v *view) reaches(zxid int64) bool {
	epochs := *v.epochs.Load()
	for _, e := range epochs {
		if e.session.client.SettledZxid() < zxid {
			return false
		}
	}
	return v.dirty.Load() == 0 && v.ended() == 0
}

// catchUp is session.catchUp for all sessions that carry watches of the view, side by side.
func (v *view) catchUp(ctx context.Context, minZxid int64) error {
	epochs, all := *v.epochs.Load(), syncs{}
	for _, e := range epochs {
		all.start(ctx, e.session, minZxid)
	}
	for _, e := range epochs {
		if err := all.wait(ctx, e.session, minZxid); err != nil {
			return err
		}
	}
	return nil
}

// catchUp syncs s until s has reached minZxid, for a second at most. If minZxid is 0, s has to
// reach what ZooKeeper holds now.
//
// One sync is not enough. A follower passes the sync to its leader, and the answer comes after
// all that the leader has committed. If a client of the leader itself syncs, the
// answer covers only what the leader has applied so far, and followers may have acknowledged a
// write that the leader is about to apply. Of 26,816 syncs of a leader on a busy machine, each
// right after such a write, 127 came too early, and so did 7 of the syncs that followed them.
//
// If libzookeeper does not give the session's zxid, catchUp stops after two syncs.
func (s *session) catchUp(ctx context.Context, minZxid int64) error {
	const most = 10 // tries, which take a second in all
	for try := 0; ; try++ {
		if err := s.syncWait(ctx); err != nil {
			return err
		}
		at := s.client.Zxid()
		if minZxid != 0 && at >= minZxid || try > 0 && (minZxid == 0 || at == 0) {
			return nil
		}
		if try == most {
			return fmt.Errorf("%w: ZooKeeper has reached %#x and not %#x: is that from another ensemble?",
				discovery.ErrZxidNotReached, at, minZxid)
		}
		if try == 0 {
			continue
		}
		select {
		case <-time.After(time.Millisecond << try):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// syncs are the syncs of one call. The things that the call needs share one sync for each
// session, and the sessions sync side by side. So the call waits for the slowest session, and
// not for one session after the other.
type syncs map[*session]*catchingUp

type catchingUp struct {
	done chan struct{}
	err  error // set once done is closed
}

// start begins to sync s, unless that has begun in this call.
func (y syncs) start(ctx context.Context, s *session, minZxid int64) *catchingUp {
	if y[s] == nil {
		one := &catchingUp{done: make(chan struct{})}
		y[s] = one
		go func() {
			defer close(one.done)
			one.err = s.catchUp(ctx, minZxid)
		}()
	}
	return y[s]
}

// wait returns nil once s has caught up, or why it has not. It begins to sync s if that has not
// begun.
func (y syncs) wait(ctx context.Context, s *session, minZxid int64) error {
	one := y.start(ctx, s, minZxid)
	<-one.done // it is closed when ctx ends as well
	return one.err
}

// reached returns what was read in a state that has the transaction minZxid in it. If the value
// is older than that because what ZooKeeper holds cannot be served, reached returns an error.
func reached[T any](minZxid int64, value T, meta discovery.Meta, err error) (T, discovery.Meta, error) {
	if meta.Zxid < minZxid && meta.Cache == discovery.Stale && (err == nil || errors.Is(err, discovery.ErrNotFound) || errors.Is(err, discovery.ErrBadData)) {
		var none T
		return none, meta, fmt.Errorf("%w: what ZooKeeper has held since %#x cannot be served; /admin/problems says why",
			discovery.ErrUnavailable, minZxid)
	}
	return value, meta, err
}
