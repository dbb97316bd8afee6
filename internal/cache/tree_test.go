package cache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"magellan/internal/alloctest"
	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// shelf is the value of one directory of the trees in these tests: its records, as one line.
type shelf struct {
	text   string
	zxid   int64
	doubts discovery.Doubts
	dirs   int
	absent bool
}

// shelfTopic is the topic of one directory.
func shelfTopic(dir string) discovery.Topic { return discovery.Topic{Kind: "shelf", Name: dir} }

// shelves describes a tree below /tree, whose records are numbers.
func shelves(inside func(dir string) discovery.Inside) discovery.Tree[string, shelf] {
	return discovery.Tree[string, shelf]{
		Name: "shelves", Path: "/tree", MaxDepth: 3, MaxDirectories: 1000, Inside: inside,
		Decode: func(dir, name string, data []byte, _ discovery.Stat) (string, error) {
			if inside(dir) == discovery.Names {
				return name, nil
			}
			if len(data) == 0 || strings.Trim(string(data), "0123456789") != "" {
				return "", fmt.Errorf("%w: no number", discovery.ErrBadData)
			}
			return name + "=" + string(data), nil
		},
		Build: func(dir string, m discovery.Members[string], _ *shelf) *shelf {
			slices.Sort(m.Values)
			return &shelf{strings.Join(m.Values, " "), m.Zxid, m.Doubts, m.Directories, m.Absent}
		},
		Zxid:    func(s *shelf) int64 { return s.zxid },
		Changes: func(dir string, _, _ *shelf) []discovery.Topic { return []discovery.Topic{shelfTopic(dir)} },
	}
}

func mixed(string) discovery.Inside { return discovery.Mixed }

// grove is a world with a cache of one tree.
type grove struct {
	*world
	*Cache
	tree *Tree[shelf]
}

func (w *world) grove(cfg Config, inside func(string) discovery.Inside) *grove {
	w.Helper()
	if cfg.ZooKeeper.Servers == nil {
		cfg.ZooKeeper.Servers = []string{w.server.Addr()}
	}
	if cfg.ZooKeeper.SessionTimeout == 0 {
		cfg.ZooKeeper.SessionTimeout = time.Minute
	}
	cfg.ZooKeeper.Logger, cfg.Logger, cfg.Root = quiet, quiet, "/"
	c, err := New(cfg)
	w.must(err)
	g := &grove{w, c, AddTree(c, shelves(inside))}
	w.must(c.Start())
	w.Cleanup(func() { w.must(c.Close()) })
	w.must(c.WaitReady(w.soon()))
	return g
}

// text returns a directory as it is served: its records, or "none", with the status.
func (g *grove) text(dir string) string {
	value, meta, err := g.tree.Get(g.soon(), dir, discovery.ReadOptions{})
	switch {
	case errors.Is(err, discovery.ErrNotFound):
		return "none " + meta.Cache.String()
	case err != nil:
		return err.Error()
	}
	status := meta.Cache
	if value.doubts.Whole() != nil {
		status = discovery.Stale
	}
	return strings.TrimSpace(value.text + " " + status.String())
}

// want waits until a directory is served like that.
func (g *grove) want(dir, want string) {
	g.Helper()
	g.eventually(func() string {
		if got := g.text(dir); got != want {
			return fmt.Sprintf("%q is %q, want %q", dir, got, want)
		}
		return ""
	})
}

// deleteAll deletes a znode and all below it.
func (w *world) deleteAll(path string) {
	w.Helper()
	var names []string
	w.write(func(ctx context.Context) (err error) {
		if names, _, err = w.zk.Children(ctx, path); errors.Is(err, zk.ErrNoNode) {
			return nil
		}
		return err
	})
	for _, name := range names {
		w.deleteAll(path + "/" + name)
	}
	w.write(func(ctx context.Context) error {
		if err := w.zk.Delete(ctx, path, zk.AnyVersion); !errors.Is(err, zk.ErrNoNode) {
			return err
		}
		return nil
	})
}

// deleteAtOnce deletes znodes in one transaction.
func (w *world) deleteAtOnce(paths ...string) {
	w.Helper()
	var ops []zk.Op
	for _, path := range paths {
		ops = append(ops, zk.DeleteOp(path, zk.AnyVersion))
	}
	w.atOnce(ops...)
}

// atOnce carries out one transaction. If its answer is lost, a second try finds that it was done.
func (w *world) atOnce(ops ...zk.Op) {
	w.Helper()
	tries := 0
	w.write(func(ctx context.Context) error {
		_, err := w.zk.Multi(ctx, ops...)
		if tries++; tries > 1 && (errors.Is(err, zk.ErrNoNode) || errors.Is(err, zk.ErrNodeExists)) {
			return nil
		}
		return err
	})
}

// ephemeral creates an ephemeral znode.
func (w *world) ephemeral(path, data string) {
	w.Helper()
	w.write(func(ctx context.Context) error {
		_, _, err := w.zk.Create(ctx, path, []byte(data), zk.CreateOptions{Mode: zk.Ephemeral})
		if errors.Is(err, zk.ErrNodeExists) {
			return nil // a try before, of which only the answer was lost
		}
		return err
	})
}

// TestTree: directories come, have records, lose them and go. At each time the answers are what
// ZooKeeper has, and which directory does not exist is an answer as well.
func TestTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.grove(Config{}, mixed)
	g.want("", "HIT")
	g.want("cart", "none HIT")
	if base, _, err := g.tree.Get(w.soon(), "", discovery.ReadOptions{}); err != nil || !base.absent {
		t.Errorf("a tree without its own znode is %+v, %v", base, err)
	}

	w.put("/tree/cart/a", "1")
	g.want("cart", "a=1 HIT")
	w.put("/tree/cart/b", "2")
	g.want("cart", "a=1 b=2 HIT")
	w.put("/tree/cart/a", "3")
	g.want("cart", "a=3 b=2 HIT")
	w.delete("/tree/cart/a")
	g.want("cart", "b=2 HIT")
	g.want("cart/b", "none HIT") // it is a record
	w.delete("/tree/cart/b")
	g.want("cart", "HIT")
	w.put("/tree/cart/c", "4")
	g.want("cart", "c=4 HIT")
	w.deleteAll("/tree/cart")
	g.want("cart", "none HIT")
	w.put("/tree/cart/d", "5") // it is another znode of the same name
	g.want("cart", "d=5 HIT")

	w.put("/tree/web/prod/cart/a", "6")
	g.want("web/prod/cart", "a=6 HIT")
	g.want("web/prod", "HIT")
	g.want("web/test/cart", "none HIT")
	w.deleteAll("/tree/web")
	g.want("web/prod/cart", "none HIT")
	g.want("web", "none HIT")

	all, meta, err := g.tree.All(w.soon(), discovery.ReadOptions{})
	w.must(err)
	var dirs []string
	for _, one := range all {
		dirs = append(dirs, one.Dir+":"+one.Value.text)
	}
	if got := strings.Join(dirs, " "); got != ": cart:d=5" || meta.Cache != discovery.Hit {
		t.Errorf("all directories are %q (%v)", got, meta.Cache)
	}
	if problems := g.Problems(); len(problems) > 0 {
		t.Errorf("problems: %+v", problems)
	}
}

// TestTreeGetAllocates nothing for a directory that is in memory, however deep it is.
func TestTreeGetAllocates(t *testing.T) {
	w := newWorld(t)
	w.put("/tree/web/prod/a", "1")
	g := w.grove(Config{}, mixed)
	g.want("web/prod", "a=1 HIT")
	ctx := context.Background()
	if n := alloctest.Fewest(func() {
		if _, _, err := g.tree.Get(ctx, "web/prod", discovery.ReadOptions{}); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%d allocations", n)
	}
}

// TestTreeBroken: a record that does not parse is a problem, and the others are served. A
// persistent one might be a directory, until it is known to have no children.
func TestTreeBroken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put("/tree/cart/a", "1")
	w.put("/tree/cart/b", "broken")
	w.ephemeral("/tree/cart/c", "broken")
	g := w.grove(Config{}, mixed)
	g.want("cart", "a=1 STALE")
	value, _, err := g.tree.Get(w.soon(), "cart", discovery.ReadOptions{})
	w.must(err)
	if value.doubts.Of("b") == nil || value.doubts.Of("c") == nil || value.dirs != 0 {
		t.Errorf("the doubts are %+v, %d directories", value.doubts, value.dirs)
	}
	if _, _, err := g.tree.Get(w.soon(), "cart/b", discovery.ReadOptions{}); !errors.Is(err, discovery.ErrBadData) {
		t.Errorf("a record that does not parse, asked for as a directory: %v", err)
	}
	if n := len(g.Problems()); n != 2 {
		t.Errorf("%d problems: %+v", n, g.Problems())
	}
	w.put("/tree/cart/b", "2")
	w.delete("/tree/cart/c")
	g.want("cart", "a=1 b=2 HIT")
	g.eventually(func() string { return strings.Join(paths(g.Problems()), " ") })

	// A directory that holds bytes which are no record, as Curator writes them.
	w.put("/tree/blog", "10.0.0.7")
	g.eventually(func() string {
		if len(g.Problems()) == 0 {
			return "no problem yet"
		}
		return ""
	})
	w.put("/tree/blog/a", "7")
	g.want("blog", "a=7 HIT")
	g.eventually(func() string { return strings.Join(paths(g.Problems()), " ") })
	w.delete("/tree/blog/a")
	g.eventually(func() string {
		if len(g.Problems()) == 0 {
			return "no problem again"
		}
		return ""
	})
	w.put("/tree/blog", "")
	g.want("blog", "HIT")

	// Deeper than the tree is followed.
	w.put("/tree/x/y/z/deep/a", "1")
	g.eventually(func() string {
		if got := paths(g.Problems()); !slices.Equal(got, []string{"/tree/x/y/z/deep"}) {
			return fmt.Sprint("problems: ", got)
		}
		return ""
	})
	if _, _, err := g.tree.Get(w.soon(), "x/y/z/deep", discovery.ReadOptions{}); !errors.Is(err, discovery.ErrUnread) {
		t.Errorf("a directory that is too deep: %v", err)
	}
}

func paths(all []Problem) (paths []string) {
	for _, p := range all {
		paths = append(paths, p.Path)
	}
	return paths
}

// TestTreeKinds: where names are all that there is, nothing is read, and what is of no interest is
// not even listed.
func TestTreeKinds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.grove(Config{}, func(dir string) discovery.Inside {
		switch {
		case strings.HasSuffix(dir, "/providers"):
			return discovery.Names
		case dir == "" || !strings.Contains(dir, "/"):
			return discovery.Directories
		}
		return discovery.Nothing
	})
	w.put("/tree/Cart/providers/x", "ignored")
	w.put("/tree/Cart/consumers/y", "ignored")
	g.want("Cart/providers", "x HIT")
	w.put("/tree/Cart/providers/z", "")
	g.want("Cart/providers", "x z HIT")
	g.want("Cart/consumers", "none HIT")
	w.delete("/tree/Cart/providers/x")
	g.want("Cart/providers", "z HIT")
	w.delete("/tree/Cart/providers/z")
	g.want("Cart/providers", "HIT")
	w.deleteAll("/tree/Cart")
	g.want("Cart/providers", "none HIT")
}

// TestTreeNamesTakenBack: who has deleted a record is found out as well if its name is all that is read.
func TestTreeNamesTakenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.directory("/tree")
	g := w.grove(Config{ShrinkGuard: DefaultShrinkGuard}, func(dir string) discovery.Inside {
		if dir == "" {
			return discovery.Directories
		}
		return discovery.Names
	})
	for _, name := range []string{"a", "b", "c"} {
		w.put("/tree/stays/"+name, "")
		w.put("/tree/durable/"+name, "")
		w.directory("/tree/owned")
		w.ephemeral("/tree/owned/"+name, "")
	}
	g.want("durable", "a b c HIT")
	g.want("owned", "a b c HIT")
	g.want("stays", "a b c HIT")
	owners := func() string {
		for _, dir := range []string{"durable", "owned"} {
			v := g.tree.t.find(dir)
			v.mu.Lock()
			for name, n := range v.sets[0].nodes {
				if n.owner == 0 && !n.durable {
					v.mu.Unlock()
					return "the owner of " + dir + "/" + name + " is not known"
				}
			}
			v.mu.Unlock()
		}
		return ""
	}
	g.eventually(owners)
	w.deleteAtOnce("/tree/durable/a", "/tree/durable/b", "/tree/owned/a", "/tree/owned/b")
	g.want("durable", "c HIT")
	g.want("owned", "c HIT")
	end := w.register("", "/tree/lost/a", "/tree/lost/b", "/tree/lost/c")
	g.want("lost", "a b c HIT")
	end()
	g.want("lost", "a b c STALE")
}

// TestTreeWatch: who waits for a directory is notified when it comes, changes, and goes.
func TestTreeWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.grove(Config{}, mixed)
	told := make(chan struct{}, 1)
	watch := g.Watch(shelfTopic("cart"), observerFunc(func() {
		select {
		case told <- struct{}{}:
		default:
		}
	}))
	defer watch.Stop()
	for _, step := range []struct {
		change func()
		want   string
	}{
		{func() { w.put("/tree/cart/a", "1") }, "a=1"},
		{func() { w.put("/tree/cart/b", "2") }, "a=1 b=2"},
		{func() { w.delete("/tree/cart/a"); w.delete("/tree/cart/b") }, ""},
		{func() { w.delete("/tree/cart") }, "none"},
		{func() { w.put("/tree/cart/a", "3") }, "a=3"},
	} {
		step.change()
		// The status is left out: nobody is notified when it changes alone.
		text := func() string { return strings.TrimRight(g.text("cart"), "HITMSUPDANGLE ") }
		for deadline := time.After(patience); text() != step.want; {
			select {
			case <-told:
			case <-deadline:
				t.Fatalf("nobody is notified that %q has become %q", text(), step.want)
			}
		}
	}
}

type observerFunc func()

func (f observerFunc) Changed(time.Time) { f() }

// TestTreeTurns: a znode may be a record, a directory, and a record again. What is served depends on
// what it is now, and not on what it was.
func TestTreeTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put("/tree/z", "")
	g := w.grove(Config{AuditRate: 10}, mixed)
	g.want("", "HIT")
	w.put("/tree/a", "1")
	g.want("", "a=1 HIT")
	w.put("/tree/a", "") // no record any more, and no directory yet: the last good value
	g.want("", "a=1 STALE")
	w.put("/tree/a/1", "2")
	g.want("a", "1=2 HIT")
	g.want("", "HIT")
	w.put("/tree/a", "3") // it has children, so that it is a directory all the same
	g.want("a", "1=2 HIT")
	g.want("", "HIT")
	w.delete("/tree/a/1")
	g.want("", "a=3 HIT")
	g.want("a", "none HIT")
	w.put("/tree/a/1", "4") // of which no event tells: a check finds it
	g.want("a", "1=4 HIT")
	g.want("", "HIT")

	// A record in place of a directory, in one transaction.
	w.atOnce(zk.DeleteOp("/tree/a/1", zk.AnyVersion), zk.DeleteOp("/tree/a", zk.AnyVersion),
		zk.CreateOp("/tree/a", []byte("5"), zk.CreateOptions{Mode: zk.Ephemeral}))
	g.want("", "a=5 HIT")
	g.want("a", "none HIT")

	// A record that did not parse, and does.
	w.put("/tree/b", "broken")
	g.eventually(func() string {
		if len(g.Problems()) == 0 {
			return "no problem yet"
		}
		return ""
	})
	w.put("/tree/b", "6")
	g.want("", "a=5 b=6 HIT")
	g.want("b", "none HIT")
	g.eventually(func() string { return strings.Join(paths(g.Problems()), " ") })
}

// TestTreeIsTrue: after any changes, and with a connection that breaks, a session that expires and
// sessions that have room for few watches, each directory is served as ZooKeeper has it.
func TestTreeIsTrue(t *testing.T) {
	t.Parallel()
	for _, budget := range []int64{0, 2500} {
		t.Run(fmt.Sprint(budget), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			g := w.grove(Config{ShrinkGuard: 0, AuditRate: 10, watchBudget: budget}, mixed)
			random := rand.New(rand.NewPCG(1, uint64(budget)))
			dirs := []string{"a", "b", "c", "a/x", "a/y", "b/x/z"}
			for round := range 6 {
				for range 60 {
					dir := "/tree/" + dirs[random.IntN(len(dirs))]
					switch n := random.IntN(10); {
					case n < 6:
						w.put(dir+"/r"+fmt.Sprint(random.IntN(8)), fmt.Sprint(random.IntN(100)))
					case n < 9:
						w.deleteAll(dir + "/r" + fmt.Sprint(random.IntN(8)))
					default:
						w.deleteAll(dir)
					}
				}
				switch round {
				case 2:
					w.expire(g.sessions.list()[0])
				case 4:
					w.server.Kill()
					w.must(w.server.Restart())
				}
				for _, dir := range dirs {
					g.want(dir, w.truth("/tree/"+dir))
				}
			}
			for _, s := range g.sessions.list() {
				if s.reserved.Load() > g.cfg.watchBudget {
					t.Errorf("session %d has %d bytes of watches", s.number, s.reserved.Load())
				}
			}
			w.deleteAll("/tree")
			for _, dir := range dirs {
				g.want(dir, "none HIT")
			}
			reserved := int64(0)
			for _, s := range g.sessions.list() {
				reserved += s.reserved.Load()
			}
			if want := listingCost("/") + listingCost("/tree"); reserved != want {
				t.Errorf("%d bytes of watches are counted after all has gone, want %d", reserved, want)
			}
		})
	}
}

// truth is what ZooKeeper has in a directory, as want wants it.
func (w *world) truth(dir string) string {
	var all []string
	w.write(func(ctx context.Context) error {
		all = nil
		names, _, err := w.zk.Children(ctx, dir)
		slices.Sort(names)
		for _, name := range names {
			var data []byte
			if data, _, err = w.zk.Get(ctx, dir+"/"+name); err != nil {
				break
			}
			if len(data) > 0 {
				all = append(all, name+"="+string(data))
			}
		}
		if errors.Is(err, zk.ErrNoNode) {
			all, err = []string{"none"}, nil
		}
		return err
	})
	return strings.Join(append(all, "HIT"), " ")
}

// TestTreeDenied: a directory that may not be listed is not known, which is not the same as empty.
func TestTreeDenied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put("/tree/cart/a", "1")
	w.put("/tree/secret/a", "1")
	w.hide("/tree/secret")
	g := w.grove(Config{}, mixed)
	g.want("cart", "a=1 HIT")
	value, _, err := g.tree.Get(w.soon(), "secret", discovery.ReadOptions{})
	w.must(err)
	if d := value.doubts.About("", false); d == nil || !d.Since.IsZero() {
		t.Errorf("nothing says that it is not known what is in a directory that may not be listed: %+v", value)
	}
	if _, _, err := g.tree.Get(w.soon(), "secret/x", discovery.ReadOptions{}); !errors.Is(err, discovery.ErrUnread) {
		t.Errorf("what is below a directory that may not be listed: %v", err)
	}
	if base, _, err := g.tree.Get(w.soon(), "", discovery.ReadOptions{}); err != nil || base.doubts.Whole() != nil || base.dirs != 2 {
		t.Errorf("the directory above: %+v, %v", base, err)
	}
	w.show("/tree/secret")
	g.want("secret", "a=1 HIT")
}

// TestTreeSnapshot: a start without ZooKeeper answers from the snapshot, and what has changed since
// is served once ZooKeeper is back.
func TestTreeSnapshot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put("/tree/cart/a", "1")
	w.put("/tree/web/prod/b", "2")
	w.put("/tree/odd/a", "broken")
	w.put("/tree/odd/b", "3")
	w.put("/tree/denied/a", "1")
	w.hide("/tree/denied")
	w.ephemeral("/tree/only", "broken")
	cfg := Config{Snapshot: filepath.Join(t.TempDir(), "snapshot"), ZooKeeper: zk.Config{SessionTimeout: patience / 2}}
	g := w.grove(cfg, mixed)
	g.want("web/prod", "b=2 HIT")
	w.must(g.Close())
	w.put("/tree/cart/c", "3")
	w.deleteAll("/tree/web")
	w.server.Kill()
	again := w.grove(cfg, mixed)
	if odd, _, err := again.tree.Get(w.soon(), "odd", discovery.ReadOptions{}); err != nil || odd.text != "b=3" || odd.doubts.Of("a") == nil {
		t.Errorf("a record that cannot be read, from the snapshot: %+v %v", odd, err)
	}
	for _, dir := range []string{"only", "odd/a", "denied/x"} {
		if _, _, err := again.tree.Get(w.soon(), dir, discovery.ReadOptions{}); !errors.Is(err, discovery.ErrUnread) {
			t.Errorf("%s from the snapshot: %v", dir, err)
		}
	}
	for dir, want := range map[string]string{"cart": "a=1 STALE", "web/prod": "b=2 STALE", "other": "none STALE"} {
		if got := again.text(dir); got != want {
			t.Errorf("%s from the snapshot: %q, want %q", dir, got, want)
		}
	}
	w.must(w.server.Restart())
	again.want("cart", "a=1 c=3 HIT")
	again.want("web/prod", "none HIT")

	// A file that is broken in the middle is not used, and does no harm.
	w.must(again.Close())
	whole, err := os.ReadFile(cfg.Snapshot)
	w.must(err)
	at := bytes.Index(whole, []byte("/tree/odd/b"))
	if at < 0 {
		t.Fatal("the snapshot has no /tree/odd/b")
	}
	whole[at-2] = 99 // the kind of the record
	sum := xxhash.Sum64(whole[:len(whole)-8])
	binary.BigEndian.PutUint64(whole[len(whole)-8:], sum)
	w.must(os.WriteFile(cfg.Snapshot, whole, 0o600))
	w.grove(cfg, mixed).want("cart", "a=1 c=3 HIT")
}

// TestTreesOverlap: what could not be told apart is refused at the start.
func TestTreesOverlap(t *testing.T) {
	for _, path := range []string{"/tree", "/tree/below", "/"} {
		c, err := New(Config{Root: "/", ZooKeeper: zk.Config{Servers: []string{"127.0.0.1:1"}}, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		AddTree(c, shelves(mixed))
		other := shelves(mixed)
		other.Path = path
		AddTree(c, other)
		if err := c.Start(); err == nil {
			t.Errorf("/tree and %s: no error", path)
			c.Close()
		}
	}
}
