package proof

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"magellan/internal/zk"
)

const (
	// writeTimeout is how long a write may take before its outcome is unknown.
	writeTimeout = 2 * time.Second
	// writePause is the mean pause between two writes of one writer.
	writePause = 12 * time.Millisecond
	// retryPause is the pause between two tries to find out.
	retryPause = 50 * time.Millisecond
)

// writer changes some keys, each of which is its alone.
//
// Each write is one transaction with a second part: it sets the key's marker to
// the write's number, on condition of the marker's version. So the transaction's
// id is known for deletions too, and a write whose outcome the connection has
// swallowed does not stay unknown: either the marker has its number, or the
// writer sets the marker itself, after which the write can never happen. Until
// then it may happen at any time, which is what the version's from and by say.
type writer struct {
	zk   *zk.Client
	keys []*key
	now  func() instant
	rand *rand.Rand
}

// run writes until stop ends. What is unknown then is found out, unless ctx ends
// before.
func (w *writer) run(ctx, stop context.Context) error {
	for stop.Err() == nil {
		k := w.keys[w.rand.IntN(len(w.keys))]
		if err := w.write(ctx, k, w.choose(k)); err != nil {
			return err
		}
		_ = pause(stop, time.Duration(w.rand.ExpFloat64()*float64(writePause)))
	}
	return nil
}

// settle writes a last value to each key.
func (w *writer) settle(ctx context.Context) error {
	for _, k := range w.keys {
		if err := w.write(ctx, k, k.value(k.n+1)); err != nil {
			return err
		}
	}
	return nil
}

// choose returns what to write next.
func (w *writer) choose(k *key) string {
	present := k.versions[len(k.versions)-1].value != absent
	switch dice := w.rand.IntN(100); {
	case present && dice < 12:
		return absent
	case k.breakable && dice > 97:
		return unreadable
	}
	return k.value(k.n + 1)
}

// write makes k's next version. It returns when it knows whether there is one.
func (w *writer) write(ctx context.Context, k *key, value string) error {
	k.n++
	var op zk.Op
	data := []byte("{")
	if value != unreadable {
		data = k.data(k.i, k.n)
	}
	switch present := k.versions[len(k.versions)-1].value != absent; {
	case value == absent:
		op = zk.DeleteOp(k.path(k.i), zk.AnyVersion)
	case present:
		op = zk.SetOp(k.path(k.i), data, zk.AnyVersion)
	default:
		op = zk.CreateOp(k.path(k.i), data, zk.CreateOptions{})
	}
	from := w.now()
	zxid, err := w.mark(ctx, k, strconv.Itoa(k.n), op)
	if err != nil {
		if zxid, err = w.findOut(ctx, k); err != nil {
			return err
		}
	}
	if zxid != 0 {
		k.versions = append(k.versions, version{value, zxid, from, w.now()})
		k.acked.Store(zxid)
	}
	return nil
}

// mark sets k's marker in one transaction with ops.
func (w *writer) mark(ctx context.Context, k *key, text string, ops ...zk.Op) (zxid int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	results, err := w.zk.Multi(ctx, append(ops, zk.SetOp(k.marker(), []byte(text), k.version))...)
	if err != nil {
		return 0, err
	}
	stat := results[len(ops)].Stat
	k.version = stat.Version
	return stat.Mzxid, nil
}

// findOut returns the transaction of k's last write, 0 if it has not happened
// and never will.
func (w *writer) findOut(ctx context.Context, k *key) (zxid int64, err error) {
	fence := fmt.Sprint("not ", k.n)
	for {
		data, stat, err := w.newest(ctx, k)
		switch {
		case err != nil:
		case string(data) == strconv.Itoa(k.n):
			k.version = stat.Version
			return stat.Mzxid, nil
		case string(data) == fence:
			k.version = stat.Version
			return 0, nil
		case stat.Version != k.version:
			return 0, fmt.Errorf("%s holds %q: somebody else writes here", k.marker(), data)
		default:
			if _, err = w.mark(ctx, k, fence); err == nil {
				return 0, nil
			}
		}
		if pause(ctx, retryPause) != nil {
			return 0, fmt.Errorf("whether write %d of %s has happened could not be found out: %w", k.n, k.name, errors.Join(err, context.Cause(ctx)))
		}
	}
}

// newest reads k's marker, not from a server that lags behind.
func (w *writer) newest(ctx context.Context, k *key) ([]byte, zk.Stat, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := w.zk.Sync(ctx, k.marker()); err != nil {
		return nil, zk.Stat{}, err
	}
	return w.zk.Get(ctx, k.marker())
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
