package world

import (
	"context"
	"errors"
	"path"

	"magellan/internal/zk"
)

// Put writes a znode, and those above it that are not there yet. All are persistent, so that what the
// test deletes was deleted on purpose, and no accident that magellan would guard against.
func (w *World) Put(znode, data string) {
	w.Helper()
	w.write(func(ctx context.Context, c *zk.Client) error {
		if _, err := c.Set(ctx, znode, []byte(data), zk.AnyVersion); !errors.Is(err, zk.ErrNoNode) {
			return err
		}
		var above []string
		for dir := path.Dir(znode); dir != "/"; dir = path.Dir(dir) {
			above = append(above, dir)
		}
		for i := range above {
			_, _, err := c.Create(ctx, above[len(above)-1-i], nil, zk.CreateOptions{})
			if err != nil && !errors.Is(err, zk.ErrNodeExists) {
				return err
			}
		}
		_, _, err := c.Create(ctx, znode, []byte(data), zk.CreateOptions{})
		return err
	})
}

// Delete deletes a znode, and all below it.
func (w *World) Delete(znode string) {
	w.Helper()
	w.write(func(ctx context.Context, c *zk.Client) error { return deleteAll(ctx, c, znode) })
}

func deleteAll(ctx context.Context, c *zk.Client, znode string) error {
	names, _, err := c.Children(ctx, znode)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := deleteAll(ctx, c, path.Join(znode, name)); err != nil {
			return err
		}
	}
	return c.Delete(ctx, znode, zk.AnyVersion)
}

// write has a client of its own, which is no more magellan's than those of the services' owners.
func (w *World) write(what func(context.Context, *zk.Client) error) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), Patience)
	defer cancel()
	if w.writer == nil {
		c, err := zk.Open(zk.Config{Servers: []string{w.ZooKeeper.Addr()}})
		w.Must(err)
		w.Cleanup(func() { c.Close() })
		w.Must(c.WaitReady(ctx))
		w.writer = c
	}
	w.Must(what(ctx, w.writer))
}
