package znodestest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/znodes"
)

// Tree is some znodes, and both readers of them. It is safe for concurrent use.
type Tree struct {
	*discovery.Feed
	// BeforeRead, unless nil, is called before each read: of the bytes of a znode, or of its
	// children. It may change the tree.
	BeforeRead func(path string, children bool)

	mu     sync.Mutex
	znodes map[string]*znode
	kept   map[string]*znodes.List // what is told of children unless the answer must be fresh
	zxid   int64
	err    error
	meta   discovery.Meta
}

type znode struct {
	data   []byte
	stat   discovery.Stat
	denied bool
}

// New returns a tree that has a root.
func New() *Tree {
	t := &Tree{Feed: discovery.NewFeed(func(discovery.Topic) {}), znodes: map[string]*znode{}, kept: map[string]*znodes.List{}}
	t.Set("/", nil)
	return t
}

// Service returns a service that shows the subtrees.
func (t *Tree) Service(shown ...string) *znodes.Service {
	s, err := znodes.New(znodes.Config{Shown: shown, Bytes: (*bytesOf)(t), Children: (*childrenOf)(t), Watcher: t})
	if err != nil {
		panic(err)
	}
	return s
}

// Set writes a znode, after those above it if there are none. nil is no bytes.
func (t *Tree) Set(path string, data []byte) {
	t.mu.Lock()
	touched := t.set(path, data)
	t.mu.Unlock()
	t.publish(touched)
}

// set returns the topics that have changed. The times of the transactions are made of their zxids.
func (t *Tree) set(path string, data []byte) (changed []discovery.Topic) {
	z := t.znodes[path]
	if z == nil {
		if path != "/" {
			above := parent(path)
			if t.znodes[above] == nil {
				changed = t.set(above, nil)
			}
			t.zxid++
			of := &t.znodes[above].stat
			of.Cversion, of.Pzxid = of.Cversion+1, t.zxid
			changed = append(changed, discovery.Topic{Kind: "list of children", Name: above})
		}
		z = &znode{stat: discovery.Stat{Czxid: t.zxid, Pzxid: t.zxid, Ctime: timeOf(t.zxid), Version: -1}}
		t.znodes[path] = z
	} else {
		t.zxid++
	}
	z.data, z.stat.Mzxid, z.stat.Mtime = data, t.zxid, timeOf(t.zxid)
	z.stat.Version++
	return append(changed, discovery.Topic{Kind: "znode", Name: path})
}

// Delete deletes a znode that has no children.
func (t *Tree) Delete(path string) {
	t.mu.Lock()
	t.zxid++
	delete(t.znodes, path)
	of := &t.znodes[parent(path)].stat
	of.Cversion, of.Pzxid = of.Cversion+1, t.zxid
	t.mu.Unlock()
	t.publish([]discovery.Topic{{Kind: "znode", Name: path}, {Kind: "list of children", Name: parent(path)}})
}

// Deny has a znode be read by nobody, or by everybody again.
func (t *Tree) Deny(path string, denied bool) {
	t.mu.Lock()
	t.znodes[path].denied = denied
	t.znodes[path].stat.Aversion++
	t.mu.Unlock()
	t.publish([]discovery.Topic{{Kind: "znode", Name: path}})
}

// Keep has the tree go on telling which children a znode has now, as a cache does that was not told
// of a change, unless the answer must be fresh.
func (t *Tree) Keep(path string) {
	l, _, err := (*childrenOf)(t).Get(context.Background(), path, discovery.ReadOptions{})
	if err != nil {
		panic(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept[path] = l
}

// Own makes a session the owner of a znode.
func (t *Tree) Own(path string, session int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.znodes[path].stat.Owner = session
}

// SetErr has all reads fail, unless err is nil. Otherwise meta is what is said of them besides
// zxids.
func (t *Tree) SetErr(err error, meta discovery.Meta) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err, t.meta = err, meta
}

func (t *Tree) publish(all []discovery.Topic) {
	for _, topic := range all {
		t.Publish(topic, time.Time{})
	}
}

func (t *Tree) find(path string, children bool) (*znode, discovery.Meta, error) {
	if f := t.BeforeRead; f != nil {
		f(path, children)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	z, meta := t.znodes[path], t.meta
	switch {
	case t.err != nil:
		return nil, meta, t.err
	case z == nil:
		return nil, meta, discovery.ErrNotFound
	case z.denied:
		return nil, meta, fmt.Errorf("%w: no access", discovery.ErrDenied)
	}
	found := *z
	return &found, meta, nil
}

type bytesOf Tree

// Get implements [discovery.KeyedReader].
func (t *bytesOf) Get(_ context.Context, path string, _ discovery.ReadOptions) (*znodes.Data, discovery.Meta, error) {
	z, meta, err := (*Tree)(t).find(path, false)
	if err != nil {
		return nil, meta, err
	}
	d, err := znodes.Bytes(nil).Decode(path, z.data, z.stat)
	meta.Zxid = z.stat.Mzxid
	return d, meta, err
}

// GetMany implements [discovery.KeyedReader].
func (t *bytesOf) GetMany(ctx context.Context, paths []string, opt discovery.ReadOptions, out []discovery.Read[znodes.Data]) {
	for i, path := range paths {
		out[i].Value, out[i].Meta, out[i].Err = t.Get(ctx, path, opt)
	}
}

type childrenOf Tree

// Get implements [discovery.KeyedReader].
func (t *childrenOf) Get(_ context.Context, path string, opt discovery.ReadOptions) (*znodes.List, discovery.Meta, error) {
	z, meta, err := (*Tree)(t).find(path, true)
	if err != nil {
		meta.Cache = discovery.Stale // as discovery.Keyed.Children says
		return nil, meta, err
	}
	t.mu.Lock()
	if kept := t.kept[path]; kept != nil && !opt.Fresh {
		t.mu.Unlock()
		return kept, meta, nil
	}
	var names []string
	for other := range t.znodes {
		if other != "/" && parent(other) == path {
			names = append(names, other[strings.LastIndexByte(other, '/')+1:])
		}
	}
	t.mu.Unlock()
	slices.Sort(names)
	joined := strings.Join(names, "/")
	if joined != "" {
		joined += "/"
	}
	l, err := znodes.Children(nil).Decode(path, []byte(joined), z.stat)
	meta.Zxid = z.stat.Pzxid
	return l, meta, err
}

// GetMany implements [discovery.KeyedReader].
func (t *childrenOf) GetMany(ctx context.Context, paths []string, opt discovery.ReadOptions, out []discovery.Read[znodes.List]) {
	for i, path := range paths {
		out[i].Value, out[i].Meta, out[i].Err = t.Get(ctx, path, opt)
	}
}

func parent(path string) string { return path[:max(1, strings.LastIndexByte(path, '/'))] }

// timeOf is the time of a transaction, in milliseconds of Unix time.
func timeOf(zxid int64) int64 { return 1764300000000 + 1001*zxid }
