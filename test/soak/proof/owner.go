package proof

import (
	"context"
	"errors"
	"fmt"
	"time"

	"magellan/internal/zk"
)

const (
	// owners is where each writer has a directory for the witness of its session.
	owners = "/owners"
	// lossRate: of so many writes one is a loss of the owner's session instead.
	lossRate = 150
	// ownerTimeout is the timeout of these sessions, in which a writer waits if it cannot
	// close one.
	ownerTimeout = 10 * time.Second
)

func ownerDir(i int) string { return fmt.Sprint(owners, "/", i) }

// owner is the session in which a writer's ephemeral keys live. All of them end with it, in
// one transaction. The session has one znode more, the witness, in a directory that nobody
// else writes: once that is gone, the directory tells the transaction.
type owner struct {
	zk *zk.Client // nil if there is none
	// witness is the znode.
	dir, witness string
	// alive is the last instant at which the session is known to have lived.
	alive instant
	// losses is how many sessions have ended.
	losses int
}

func newOwner(i int) owner { return owner{dir: ownerDir(i), witness: ownerDir(i) + "/witness"} }

// ended reports whether the session has ended by itself, as it may under faults.
func (o *owner) ended() bool { return o.zk.State() == zk.Expired }

// openOwner opens the session, and tries until it has its witness.
func (w *writer) openOwner(ctx context.Context) error {
	o := &w.owner
	for {
		client, err := zk.Open(zk.Config{Servers: w.zk.Servers(), SessionTimeout: ownerTimeout, OneSession: true})
		if err != nil {
			return err
		}
		o.zk = client
		for err = w.giveWitness(ctx); err != nil && ctx.Err() == nil && !o.ended(); err = w.giveWitness(ctx) {
			_ = pause(ctx, retryPause)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", o.witness, errors.Join(err, context.Cause(ctx)))
		}
		if err := w.closeOwner(ctx); err != nil { // it may have made its witness
			return err
		}
	}
}

// giveWitness creates the witness. An earlier try may have done so without an answer.
func (w *writer) giveWitness(ctx context.Context) error {
	o := &w.owner
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	begin := w.now()
	if err := o.zk.WaitReady(ctx); err != nil {
		return err
	}
	_, stat, err := o.zk.Create(ctx, o.witness, nil, zk.CreateOptions{Mode: zk.Ephemeral})
	if errors.Is(err, zk.ErrNodeExists) {
		if stat, err = o.zk.Exists(ctx, o.witness); err == nil && stat.EphemeralOwner != o.zk.SessionID() {
			err = errors.New("it is another session's")
		}
	}
	o.alive = begin
	return err
}

// closeOwner ends the session, unless it has ended by itself, and waits until its keys are gone.
func (w *writer) closeOwner(ctx context.Context) error {
	_ = w.owner.zk.Close() // if ZooKeeper is not told, the session ends in time
	w.owner.zk = nil
	for {
		zxid, err := w.findEnd(ctx)
		if err == nil {
			w.owner.losses++
			for _, k := range w.keys {
				if k.ephemeral && k.isPresent() {
					k.add(version{absent, zxid, w.owner.alive, w.now()})
				}
			}
			return nil
		}
		if pause(ctx, retryPause) != nil {
			return fmt.Errorf("the session of %s does not end: %w", w.owner.witness, errors.Join(err, context.Cause(ctx)))
		}
	}
}

// findEnd returns the transaction that has ended the session.
func (w *writer) findEnd(ctx context.Context) (zxid int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	// Twice, because the leader may answer the first before it has applied what a follower
	// has acknowledged.
	for range 2 {
		if err := w.zk.Sync(ctx, w.owner.dir); err != nil {
			return 0, err
		}
	}
	names, stat, err := w.zk.Children(ctx, w.owner.dir)
	if err == nil && len(names) > 0 {
		err = errors.New("its witness is there")
	}
	return stat.Pzxid, err
}

// renewOwner ends the session and opens another one.
func (w *writer) renewOwner(ctx context.Context) error {
	if _, err := w.proveOwner(ctx); err != nil {
		return err
	}
	if err := w.closeOwner(ctx); err != nil {
		return err
	}
	return w.openOwner(ctx)
}

// proveOwner returns whether the session lives, or has to be replaced because it has ended by itself.
func (w *writer) proveOwner(ctx context.Context) (lives bool, err error) {
	for {
		begin := w.now()
		try, cancel := context.WithTimeout(ctx, writeTimeout)
		err := w.owner.zk.Sync(try, w.owner.dir)
		cancel()
		switch {
		case err == nil:
			w.owner.alive = begin
			return true, nil
		case w.owner.ended():
			return false, nil
		case pause(ctx, retryPause) != nil:
			return false, fmt.Errorf("%s: %w", w.owner.witness, errors.Join(err, context.Cause(ctx)))
		}
	}
}
