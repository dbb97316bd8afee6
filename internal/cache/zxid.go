package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"magellan/internal/discovery"
)

// reaches returns the record if it is known to be of a state that has the
// transaction in it, else nil.
//
// All watch events up to the session's settled transaction have been handled: what
// is still vouched for is as new as that. The order is what counts here, first the
// session, then the record.
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

// catchUp is session.catchUp for all that carry something of the view, side by side.
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

// catchUp syncs s until it has come to minZxid; where that is 0, to what ZooKeeper
// holds now. It does so for a second at most.
//
// One sync is not enough. A follower passes it to its leader, and has the answer
// behind all that the leader has committed. The leader itself answers a client's
// sync with what it has applied so far, and followers may have acknowledged a write
// that the leader is about to apply: of 26,816 syncs of a leader on a busy machine,
// each right after such a write, 127 came too early, and 7 of those that followed.
//
// Where libzookeeper does not tell how far the session is, two syncs have to do.
func (s *session) catchUp(ctx context.Context, minZxid int64) error {
	const most = 10 // tries, which are a second in all
	for try := 0; ; try++ {
		if err := s.syncWait(ctx); err != nil {
			return err
		}
		at := s.client.Zxid()
		if minZxid != 0 && at >= minZxid || try > 0 && (minZxid == 0 || at == 0) {
			return nil
		}
		if try == most {
			return fmt.Errorf("%w: ZooKeeper has come to %#x and not to %#x: is that from another ensemble?",
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

// syncs are those of one call: many things need no sync each, and the sessions are
// synced side by side, so that they take as long as the slowest of them and not as
// long as all of them together.
type syncs map[*session]*catchingUp

type catchingUp struct {
	done chan struct{}
	err  error // once done is closed
}

// start begins to sync s, unless this call has done so.
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

// wait returns once s has caught up, or the reason why it has not. It starts what
// has not been started.
func (y syncs) wait(ctx context.Context, s *session, minZxid int64) error {
	one := y.start(ctx, s, minZxid)
	<-one.done // which ctx ends as well
	return one.err
}

// reached passes on what was read of a state that has the transaction in it, unless
// what it has cannot be served.
func reached[T any](minZxid int64, value T, meta discovery.Meta, err error) (T, discovery.Meta, error) {
	if meta.Zxid < minZxid && meta.Cache == discovery.Stale && (err == nil || errors.Is(err, discovery.ErrNotFound) || errors.Is(err, discovery.ErrBadData)) {
		var none T
		return none, meta, fmt.Errorf("%w: what ZooKeeper has held since %#x cannot be served; /admin/problems says why",
			discovery.ErrUnavailable, minZxid)
	}
	return value, meta, err
}
