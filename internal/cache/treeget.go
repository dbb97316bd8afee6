package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"magellan/internal/discovery"
)

// errGone is returned to those who wait for the view of a directory that does not exist any
// more. They look for the directory again.
var errGone = errors.New("the directory does not exist any more")

// Get implements [discovery.TreeReader].
func (r *Tree[S]) Get(ctx context.Context, dir string, opt discovery.ReadOptions) (*S, discovery.Meta, error) {
	for {
		if v := r.t.find(dir); v != nil && !v.branch.broken.Load() {
			value, meta, err := v.branch.reader.(*View[S]).Get(ctx, opt)
			if err == nil || !errors.Is(err, errGone) {
				return value, meta, err
			}
			continue
		}
		meta, again, err := r.absent(ctx, dir, opt)
		if !again {
			return nil, meta, err
		}
	}
}

// absent says how it is known that there is no such directory: the nearest directory above it that
// exists knows its children. again is true if the directory has to be looked for again.
func (r *Tree[S]) absent(ctx context.Context, dir string, opt discovery.ReadOptions) (meta discovery.Meta, again bool, err error) {
	above, child := dir, ""
	var v *view
	for v == nil || child == "" {
		slash := strings.LastIndexByte(above, '/')
		above, child = above[:max(0, slash)], above[slash+1:]
		if child == "" {
			return meta, false, fmt.Errorf("%w: %q has an empty element", discovery.ErrInvalidName, dir)
		}
		if err := discovery.ValidateElement(child); err != nil {
			return meta, false, err
		}
		v = r.t.find(above)
	}
	_, meta, err = v.branch.reader.(*View[S]).Get(ctx, opt)
	if errors.Is(err, errGone) {
		return meta, true, nil
	} else if err != nil {
		return meta, false, err
	}
	meta.Zxid = 0 // what does not exist has none
	s := v.sets[0]
	v.mu.Lock()
	n, changed := s.nodes[child], v.changed
	switch {
	case v.gone():
		again = true
	case n == nil:
		switch err = discovery.ErrNotFound; {
		case !s.whole && s.fault.err != nil:
			err = fmt.Errorf("%w: %w", discovery.ErrUnread, s.unlistable())
		case !s.whole:
			err = fmt.Errorf("%w: what is in %s was never known", discovery.ErrUnread, s.dir)
		case s.fault.err != nil:
			meta = meta.Join(discovery.Meta{Age: max(0, time.Duration(v.c.now()-s.fault.since)), Cache: discovery.Stale})
		}
	case n.isDirectory():
		again = r.t.find(dir) != nil || r.t.find(strings.TrimPrefix(above+"/"+child, "/")) != nil
		if !again {
			err = discovery.ErrNotFound // it is beyond the bounds of the tree
		}
	case n.branch != nil && n.fault.err != nil:
		err = fmt.Errorf("%w: %w", discovery.ErrBadData, s.explained(child, n))
	case n.unread && n.value == nil && n.fault.err == nil:
		again = true
	case n.value != nil || n.fault.err == nil:
		err = discovery.ErrNotFound // it is a record, or no part of the tree
	default:
		err = fmt.Errorf("%w: %w", discovery.ErrUnread, s.explained(child, n))
	}
	wait := again && n != nil && n.branch == nil
	v.mu.Unlock()
	if wait {
		select {
		case <-changed:
		case <-v.c.closing:
			return meta, false, errClosed
		case <-ctx.Done():
			return meta, false, fmt.Errorf("%w: it has not been read from ZooKeeper yet: %w", discovery.ErrUnavailable, ctx.Err())
		}
	}
	return meta, again, err
}

// All implements [discovery.TreeReader].
func (r *Tree[S]) All(ctx context.Context, opt discovery.ReadOptions) ([]discovery.DirectoryValue[S], discovery.Meta, error) {
	// The tree's own directory first, which brings directories that it lacks.
	_, meta, err := r.t.base.branch.reader.(*View[S]).Get(ctx, opt)
	if err != nil {
		return nil, meta, err
	}
	views := r.t.sorted()
	all := make([]discovery.DirectoryValue[S], 0, len(views))
	for _, v := range views {
		if v.branch.broken.Load() {
			continue
		}
		value, one, err := v.branch.reader.(*View[S]).Get(ctx, opt)
		if errors.Is(err, errGone) {
			continue
		} else if err != nil {
			return nil, meta, err
		}
		meta = meta.Join(one)
		all = append(all, discovery.DirectoryValue[S]{Dir: v.branch.dir, Value: value})
	}
	return all, meta, nil
}
