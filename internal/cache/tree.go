package cache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// tree is a [discovery.Tree] without its types of value. Each of its directories is a view with
// one set, which comes into being when the set of the directory above finds the znode, and goes
// with that. See branch.go for how a set and the views below it depend on each other.
type tree struct {
	c    *Cache
	name string
	path string
	// maxDepth and maxDirectories are the bounds of the description.
	maxDepth, maxDirectories int
	inside                   func(dir string) discovery.Inside
	// makeView makes the view of a directory, without a session.
	makeView func(b *branch) *view
	// gone returns the topics to publish when a directory is hidden, and here when it is
	// shown again.
	gone, here func(v *view) []discovery.Topic
	base       *view

	// mu is taken with the lock of a view held, and never the other way round.
	mu sync.RWMutex
	// views are the directories that answers are made of, by their path below the tree.
	views map[string]*view
	// order has the views ordered by their paths, and is never changed; nil if it has to be made
	// anew.
	order []*view

	due, auditDue rota[*view]
	guard         treeGuard
}

// Tree reads the values of the directories of a [discovery.Tree]. It is safe for concurrent use.
type Tree[S any] struct{ t *tree }

var _ discovery.TreeReader[int] = (*Tree[int])(nil)

// AddTree has the cache mirror a tree of directories, and returns the reader of the values that
// are made of them. It is to be called before [Cache.Start], and panics afterwards.
func AddTree[T, S any](c *Cache, d discovery.Tree[T, S]) *Tree[S] {
	c.mustNotBeStarted()
	t := &tree{
		c: c, name: d.Name, path: d.Path, maxDepth: d.MaxDepth, maxDirectories: d.MaxDirectories,
		inside: d.Inside, views: map[string]*view{},
	}
	t.makeView = func(b *branch) *view {
		dir := &discovery.Directory[T]{Path: t.pathOf(b.dir), Decode: func(name string, data []byte, stat discovery.Stat) (T, error) {
			return d.Decode(b.dir, name, data, stat)
		}}
		r := &View[S]{v: &view{c: c, name: d.Name, branch: b}, zxid: d.Zxid}
		b.reader = r
		r.v.sets = []*set{newSet(r.v, dir, d.Inside(b.dir))}
		r.v.build = func(m discovery.Moment) (changes func() []discovery.Topic) {
			was := r.current.Load()
			is := d.Build(b.dir, dir.Members(m), was)
			r.current.Store(is)
			return func() []discovery.Topic { return d.Changes(b.dir, was, is) }
		}
		r.v.drop = func() { r.current.Store(nil) }
		return r.v
	}
	t.gone = func(v *view) []discovery.Topic {
		return d.Changes(v.branch.dir, v.branch.reader.(*View[S]).current.Load(), nil)
	}
	t.here = func(v *view) []discovery.Topic {
		return d.Changes(v.branch.dir, nil, v.branch.reader.(*View[S]).current.Load())
	}
	t.base = t.makeView(&branch{t: t})
	t.views[""] = t.base
	c.views.all = append(c.views.all, t.base)
	c.views.trees = append(c.views.trees, t)
	return &Tree[S]{t}
}

// ErrOverlap is returned by [Cache.Start] if a tree overlaps with something else that is to be
// mirrored.
var ErrOverlap = errors.New("what is to be mirrored overlaps")

// checkTrees finds out whether trees overlap with anything else that is mirrored. An event could
// not be told to both.
func (c *Cache) checkTrees() error {
	others := map[string]string{}
	for _, k := range c.kinds {
		others[k.dir] = k.name + "s"
	}
	for _, v := range c.views.all {
		if v.branch == nil {
			for _, s := range v.sets {
				others[s.dir] = v.name
			}
		}
	}
	for i, t := range c.views.trees {
		for _, o := range c.views.trees[:i] {
			if t.has(o.path) || o.has(t.path) {
				return fmt.Errorf("%w: %s and %s: one of them is enough", ErrOverlap, o.path, t.path)
			}
		}
		for path, what := range others {
			if t.has(path) || discovery.Below(t.path, path) {
				return fmt.Errorf("%w: %s, and %s, where the %s are", ErrOverlap, t.path, path, what)
			}
		}
	}
	return nil
}

func (t *tree) has(path string) bool { return discovery.Below(path, t.path) }

// pathOf is the path of a directory's znode.
func (t *tree) pathOf(dir string) string {
	switch {
	case dir == "":
		return t.path
	case t.path == "/":
		return "/" + dir
	default:
		return t.path + "/" + dir
	}
}

// below is the inverse of pathOf, for a path that is in the tree.
func (t *tree) below(path string) string {
	return strings.TrimPrefix(path[len(strings.TrimSuffix(t.path, "/")):], "/")
}

// find returns the view of a directory, nil if there is none.
func (t *tree) find(dir string) *view {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.views[dir]
}

// sorted returns all views, ordered by their paths. A directory comes after the one that it is in.
func (t *tree) sorted() []*view {
	t.mu.RLock()
	all := t.order
	t.mu.RUnlock()
	if all != nil {
		return all
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.order == nil {
		t.order = slices.SortedFunc(maps.Values(t.views), func(a, b *view) int { return strings.Compare(a.branch.dir, b.branch.dir) })
	}
	return t.order
}

// treeAt returns the tree that a path is in, nil if it is in none.
func (p *views) treeAt(path string) *tree {
	for _, t := range p.trees {
		if t.has(path) {
			return t
		}
	}
	return nil
}

// setAt is views.setAt for a path in the tree.
func (t *tree) setAt(path string) (s *set, child string) {
	if v := t.find(t.below(path)); v != nil {
		return v.sets[0], ""
	}
	return t.parentAt(path)
}

// parentAt returns the set that has a path as a child, nil if there is none.
func (t *tree) parentAt(path string) (s *set, child string) {
	dir := t.below(path)
	if dir == "" {
		return nil, ""
	}
	above, child := "", dir
	if slash := strings.LastIndexByte(dir, '/'); slash >= 0 {
		above, child = dir[:slash], dir[slash+1:]
	}
	if v := t.find(above); v != nil {
		return v.sets[0], child
	}
	return nil, ""
}

// onWatch handles an event of a znode that may be a directory, and a child of one.
func (t *tree) onWatch(s *session, e zk.WatchEvent) {
	v := t.find(t.below(e.Path))
	if v != nil && e.Type != zk.DataChanged {
		v.sets[0].learn(s, "")
	}
	if e.Type == zk.ChildrenChanged {
		return
	}
	if above, child := t.parentAt(e.Path); above != nil {
		above.learn(s, child)
	}
}

// wait waits until each directory that has been found has been read, as far as it can be.
func (t *tree) wait(ctx context.Context) error {
	for {
		waited := false
		for _, v := range t.sorted() {
			if _, known := v.contact(); known {
				continue
			}
			waited = true
			if err := v.wait(ctx, false); err != nil && !errors.Is(err, errGone) {
				return err
			}
		}
		if !waited {
			return nil
		}
	}
}

// faults is set.faults for all directories together.
func (t *tree) faults() (unread, stale int) {
	for _, v := range t.sorted() {
		u, s := v.sets[0].faults()
		unread, stale = unread+u, stale+s
	}
	return unread, stale
}

// treeChecksPerSecond bounds the checks of one tree, so that they do not load ZooKeeper more than
// its clients do. A tree with more than checkEvery times as many znodes takes longer for a round.
const treeChecksPerSecond = 500

// checkSome makes the checks that are due in this second: see check.go.
func (t *tree) checkSome() {
	views := t.due.take(treeChecksPerSecond, t.sorted)
	most := treeChecksPerSecond
	for i, v := range views {
		v.mu.Lock()
		n := 1 + len(v.sets[0].nodes)
		v.mu.Unlock()
		if most -= n; most < 0 && i > 0 {
			t.due.due = slices.Concat(views[i:], t.due.due) // they are due in the next second
			return
		}
		v.checkSome()
	}
}

// audit audits one child of some directories, or the list of their children.
func (t *tree) audit(most int) {
	for _, v := range t.auditDue.take(most, t.sorted) {
		v.audit()
	}
}
