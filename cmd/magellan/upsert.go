package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"magellan/internal/zk"
)

// outcome is the result of writing a znode.
type outcome int

const (
	unchanged outcome = iota // it had the same data already
	created
	updated
)

// writer writes data into znodes and creates them if needed. It is safe for concurrent
// use.
type writer struct {
	client *zk.Client
	// acl is the ACL of znodes that the writer creates, parents included. nil is open to
	// all. Existing znodes keep their ACL.
	acl []zk.ACL
	// patience is how long ZooKeeper may be away before a write fails.
	patience time.Duration
}

// maxAttempts is how often a znode is tried. The first try fails only because of
// another client's write, or because the connection was cut.
const maxAttempts = 100

// put writes data into the znode at path. If the znode has this data already, put does
// not write: the znode's version, its watches and the caches of its readers stay as they
// are.
//
// If the connection is cut, put waits until it is back and reads the znode again, because
// it is unknown whether the write before the cut has happened.
func (w *writer) put(ctx context.Context, path string, data []byte) (outcome, error) {
	did := unchanged
	for range maxAttempts {
		held, stat, err := w.client.Get(ctx, path)
		switch {
		case err == nil && bytes.Equal(held, data):
			return did, nil
		case err == nil:
			did = updated
			_, err = w.client.Set(ctx, path, data, stat.Version)
		case errors.Is(err, zk.ErrNoNode):
			did = created
			_, _, err = w.client.Create(ctx, path, data, zk.CreateOptions{ACL: w.acl})
		}
		switch {
		case err == nil:
			return did, nil
		case errors.Is(err, zk.ErrNodeExists) || errors.Is(err, zk.ErrBadVersion):
			// Another client was quicker.
		case errors.Is(err, zk.ErrNoNode): // no parent; or deleted just now
			err = w.makeParents(ctx, path)
		}
		if err = w.waitOut(ctx, err); err != nil {
			return unchanged, err
		}
	}
	return unchanged, fmt.Errorf("%q: other clients change it all the time", path)
}

// lockedOut returns which permission w's ACL would not give to w itself: to create
// znodes below those that it has created, or to write or read them. The result is empty
// if no permission is missing, or if this is unknown.
//
// Only the server knows which entries apply to which client. Therefore w sends it a
// transaction that tries all three. The last part always fails, so that the transaction
// has no effect.
func (w *writer) lockedOut(ctx context.Context, root string) string {
	at := path.Join(root, "acl-check")
	for above := root; above != "/"; above = path.Dir(above) {
		if _, err := w.client.Exists(ctx, above); !errors.Is(err, zk.ErrNoNode) {
			break
		}
		at = above
	}
	below := at + "/below"
	opt := zk.CreateOptions{ACL: w.acl}
	parts, _ := w.client.Multi(ctx,
		zk.CreateOp(at, nil, opt),
		zk.CreateOp(below, nil, opt),
		zk.SetOp(below, nil, 0),
		zk.CheckOp(below, 1), // needs the permission to read
		zk.CheckOp(below, 0)) // fails
	for i, missing := range []string{"", "create znodes below", "write", "read"} {
		if i < len(parts) && errors.Is(parts[i].Err, zk.ErrNoAuth) {
			return missing
		}
	}
	return ""
}

// makeParents creates the missing znodes above a path. If another client creates one
// first, this is no error.
func (w *writer) makeParents(ctx context.Context, of string) error {
	parent := path.Dir(of)
	if parent == "/" {
		return nil
	}
	_, _, err := w.client.Create(ctx, parent, nil, zk.CreateOptions{ACL: w.acl})
	if errors.Is(err, zk.ErrNoNode) {
		if err = w.makeParents(ctx, parent); err != nil {
			return err
		}
		_, _, err = w.client.Create(ctx, parent, nil, zk.CreateOptions{ACL: w.acl})
	}
	if errors.Is(err, zk.ErrNodeExists) {
		return nil
	}
	return err
}

// waitOut returns nil if another try may help: at once, or after waiting until ZooKeeper
// is back.
func (w *writer) waitOut(ctx context.Context, err error) error {
	switch {
	case err == nil, errors.Is(err, zk.ErrNodeExists), errors.Is(err, zk.ErrBadVersion), errors.Is(err, zk.ErrNoNode):
		return nil
	case isAway(err):
		waiting, cancel := context.WithTimeout(ctx, w.patience)
		defer cancel()
		if w.client.WaitReady(waiting) != nil {
			return err // it has the reason; ctx has only that the wait is over
		}
		return nil
	}
	return err
}

// isAway reports whether an error means that ZooKeeper is out of reach.
func isAway(err error) bool {
	return errors.Is(err, zk.ErrConnectionLoss) || errors.Is(err, zk.ErrOperationTimeout) || errors.Is(err, zk.ErrSessionExpired)
}
