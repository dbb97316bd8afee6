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

// outcome is what writing a znode came to.
type outcome int

const (
	unchanged outcome = iota // it held the same already
	created
	updated
)

// writer brings znodes to what they should hold. It is safe for concurrent use.
type writer struct {
	client *zk.Client
	// acl is that of znodes that are made, parents included; nil is open to all.
	// What is there keeps its own.
	acl []zk.ACL
	// patience is how long ZooKeeper may be away before a write fails.
	patience time.Duration
}

// maxAttempts bounds the tries for one znode: each but the first follows a write
// of somebody else's, or a cut.
const maxAttempts = 100

// put makes the znode at path hold data. A znode that does is left alone: its
// version, its watches and the caches of its readers stay as they are.
//
// A cut is waited out and the znode looked at again, because nobody knows
// whether the write before it has happened.
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
			// Somebody else was quicker.
		case errors.Is(err, zk.ErrNoNode): // no parent; or deleted just now
			err = w.makeParents(ctx, path)
		}
		if err = w.waitOut(ctx, err); err != nil {
			return unchanged, err
		}
	}
	return unchanged, fmt.Errorf("%q is changed by others all the time", path)
}

// lockedOut returns what w's ACL would not let w itself do: create znodes below those
// that it has made, or write or read them. It is empty if nothing is missing, or if that
// cannot be told.
//
// Only the server knows which entries are for whom, so it is asked: in a transaction
// that tries all of it, and that its last part always has undone.
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
		zk.CheckOp(below, 1), // takes the permission to read
		zk.CheckOp(below, 0)) // fails
	for i, missing := range []string{"", "create znodes below", "write", "read"} {
		if i < len(parts) && errors.Is(parts[i].Err, zk.ErrNoAuth) {
			return missing
		}
	}
	return ""
}

// makeParents creates what is missing above a path. It is not an error to be
// outrun by another.
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

// waitOut returns nil if trying again may help: at once, or after a wait for
// ZooKeeper to be back.
func (w *writer) waitOut(ctx context.Context, err error) error {
	switch {
	case err == nil, errors.Is(err, zk.ErrNodeExists), errors.Is(err, zk.ErrBadVersion), errors.Is(err, zk.ErrNoNode):
		return nil
	case isAway(err):
		waiting, cancel := context.WithTimeout(ctx, w.patience)
		defer cancel()
		if w.client.WaitReady(waiting) != nil {
			return err // says more than that the wait is over
		}
		return nil
	}
	return err
}

// isAway reports whether an error means that ZooKeeper is out of reach.
func isAway(err error) bool {
	return errors.Is(err, zk.ErrConnectionLoss) || errors.Is(err, zk.ErrOperationTimeout) || errors.Is(err, zk.ErrSessionExpired)
}
