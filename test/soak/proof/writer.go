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
	// sweepRate: of so many writes to a service one deletes all instances, one after the
	// other, and with the last one the service.
	sweepRate = 40
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
	zk    *zk.Client
	owner owner // of its ephemeral keys
	keys  []*key
	now   func() instant
	rand  *rand.Rand
}

// run writes until stop ends. What is unknown then is found out, unless ctx ends
// before.
func (w *writer) run(ctx, stop context.Context) error {
	for stop.Err() == nil {
		if err := w.once(ctx); err != nil {
			return err
		}
		_ = pause(stop, time.Duration(w.rand.ExpFloat64()*float64(writePause)))
	}
	return nil
}

// once does what comes next: mostly one write.
func (w *writer) once(ctx context.Context) error {
	if w.owner.ended() || w.rand.IntN(lossRate) == 0 {
		return w.renewOwner(ctx)
	}
	k := w.keys[w.rand.IntN(len(w.keys))]
	if k.kind.dir == nil || w.rand.IntN(sweepRate) > 0 {
		return w.write(ctx, k, w.choose(k))
	}
	for _, k := range k.keys {
		if k.isPresent() {
			if err := w.write(ctx, k, absent); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle writes a last value to each key, and sees to it that the ephemeral ones stay.
func (w *writer) settle(ctx context.Context) error {
	for {
		for _, k := range w.keys {
			if err := w.write(ctx, k, k.value(k.n+1)); err != nil {
				return err
			}
		}
		lives, err := w.proveOwner(ctx)
		if lives || err != nil {
			return err
		}
		if err := w.renewOwner(ctx); err != nil {
			return err
		}
	}
}

// choose returns what to write next.
func (w *writer) choose(k *key) string {
	switch dice := w.rand.IntN(100); {
	case k.isPresent() && dice < 12:
		return absent
	case k.breakable && dice > 97:
		return unreadable
	}
	return k.value(k.n + 1)
}

// write makes k's next version. It returns when it knows whether there is one.
func (w *writer) write(ctx context.Context, k *key, value string) error {
	k.n++
	client, from := w.zk, w.now()
	if k.ephemeral {
		client = w.owner.zk
	}
	ops, gone := k.ops(value)
	zxid, err := w.mark(ctx, client, k, strconv.Itoa(k.n), ops...)
	if err == nil && k.ephemeral {
		w.owner.alive = from
	}
	if err != nil {
		if zxid, err = w.findOut(ctx, k); err != nil {
			return err
		}
	}
	if zxid != 0 {
		k.subject.gone = gone
		k.add(version{value, zxid, from, w.now()})
	}
	return nil
}

// ops are what gives k a value. gone says whether the subject's directory does not exist
// afterwards.
func (k *key) ops(value string) (ops []zk.Op, gone bool) {
	var opt zk.CreateOptions
	if k.ephemeral {
		opt.Mode = zk.Ephemeral
	}
	data := []byte("{")
	if value != unreadable {
		data = k.bytes()
	}
	switch {
	case value == absent:
		ops = append(ops, zk.DeleteOp(k.path(), zk.AnyVersion))
		// Every other time an empty directory stays.
		if gone = k.kind.dir != nil && k.present() == 1 && k.n%2 == 0; gone {
			ops = append(ops, zk.DeleteOp(k.home(), zk.AnyVersion))
		}
	case k.isPresent():
		ops = append(ops, zk.SetOp(k.path(), data, zk.AnyVersion))
	default:
		if k.subject.gone {
			ops = append(ops, zk.CreateOp(k.home(), nil, zk.CreateOptions{}))
		}
		ops = append(ops, zk.CreateOp(k.path(), data, opt))
	}
	return ops, gone
}

// mark sets k's marker in one transaction with ops.
func (w *writer) mark(ctx context.Context, client *zk.Client, k *key, text string, ops ...zk.Op) (zxid int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	results, err := client.Multi(ctx, append(ops, zk.SetOp(k.marker(), []byte(text), k.version))...)
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
			if _, err = w.mark(ctx, w.zk, k, fence); err == nil {
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
