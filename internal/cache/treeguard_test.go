package cache

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// register creates ephemeral znodes in a session of their own, and returns a function that ends the
// session, and with it the znodes, in one transaction.
func (w *world) register(data string, paths ...string) (end func()) {
	w.Helper()
	for _, path := range paths {
		w.directory(path[:strings.LastIndexByte(path, '/')])
	}
	owner := *w
	owner.zk = w.client(zk.Config{Servers: []string{w.server.Addr()}})
	for _, path := range paths {
		owner.ephemeral(path, data)
	}
	return func() { w.must(owner.zk.Close()) }
}

// directory creates a znode without data, and those above it.
func (w *world) directory(path string) {
	w.Helper()
	for i := range path + "/" {
		if i == 0 || i < len(path) && path[i] != '/' {
			continue
		}
		w.write(func(ctx context.Context) error {
			_, _, err := w.zk.Create(ctx, path[:i], nil, zk.CreateOptions{})
			if errors.Is(err, zk.ErrNodeExists) {
				return nil
			}
			return err
		})
	}
}

// TestTreeGuard: if the sessions of most records of a directory are lost, the records go on being served
// as STALE, until others have come in their place or an operator accepts the loss. So does all below a
// tree whose own znode has gone.
func TestTreeGuard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	end := map[string]func(){}
	for _, name := range []string{"a", "b", "c"} {
		end[name] = w.register("1", "/tree/cart/"+name)
		w.register("1", "/tree/blog/"+name)
		w.register("1", "/tree/more/"+name)
	}
	g := w.grove(Config{ShrinkGuard: DefaultShrinkGuard}, mixed)
	for _, name := range []string{"a", "b", "c"} {
		end[name]()
	}
	g.want("cart", "a=1 b=1 c=1 STALE")
	g.want("blog", "a=1 b=1 c=1 HIT")
	w.register("2", "/tree/cart/d") // in place of the one that has gone first, whichever that is
	w.register("2", "/tree/cart/e")
	g.eventually(func() string {
		if got := g.text("cart"); !strings.HasSuffix(got, "=1 d=2 e=2 STALE") { // somebody is not done yet
			return "with two others: " + got
		}
		return ""
	})
	endF := w.register("2", "/tree/cart/f")
	g.want("cart", "d=2 e=2 f=2 HIT")
	endF()
	g.want("cart", "d=2 e=2 HIT")

	// A directory that disappears with the records that are served.
	for _, name := range []string{"a", "b"} {
		end[name] = w.register("1", "/tree/gone/"+name)
	}
	g.want("gone", "a=1 b=1 HIT")
	end["a"]()
	end["b"]()
	g.want("gone", "a=1 b=1 STALE")
	if !g.Accept("/tree/gone") {
		t.Error("there is nothing to accept of /tree/gone")
	}
	g.want("gone", "HIT")
	w.delete("/tree/gone")
	g.want("gone", "none HIT")

	w.put("/tree/shop/a", "2")
	g.want("shop", "a=2 HIT")
	w.deleteAll("/tree/shop")
	g.want("shop", "none HIT") // somebody has deleted it
	g.eventually(func() string { return strings.Join(paths(g.Problems()), " ") })
}

// TestTreeGuardOfBase: if the tree's own znode goes together with all in it, what was read before is
// served until it is back or the loss is accepted.
func TestTreeGuardOfBase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put("/tree/shop/a", "2")
	g := w.grove(Config{ShrinkGuard: DefaultShrinkGuard}, mixed)
	g.want("shop", "a=2 HIT")
	lose := func() { w.deleteAtOnce("/tree/shop/a", "/tree/shop", "/tree") }
	lose()
	g.want("shop", "a=2 STALE")
	g.want("other", "none STALE")
	w.put("/tree/shop/a", "3")
	g.want("shop", "a=3 HIT")
	lose()
	g.want("shop", "a=3 STALE")
	if !g.Accept("/tree") {
		t.Error("there is nothing to accept of the lost /tree")
	}
	g.want("shop", "none HIT")
	g.eventually(func() string { return strings.Join(paths(g.Problems()), " ") })
	w.put("/tree/shop/a", "3")
	g.want("shop", "a=3 HIT")
}

// TestTreeTakenBack: what its owner takes back, and what is persistent and deleted, is gone, however much
// of all that is at once. One after the other a service appears, empties and vanishes.
func TestTreeTakenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.directory("/tree")
	g := w.grove(Config{ShrinkGuard: DefaultShrinkGuard}, mixed)
	for _, owned := range []bool{true, false} {
		if w.directory("/tree/cart"); owned {
			for _, name := range []string{"a", "b", "c"} {
				w.ephemeral("/tree/cart/"+name, "1") // all by one owner
			}
		} else {
			for _, name := range []string{"a", "b", "c"} {
				w.put("/tree/cart/"+name, "1")
			}
		}
		g.want("cart", "a=1 b=1 c=1 HIT")
		w.delete("/tree/cart/a")
		g.want("cart", "b=1 c=1 HIT")
		w.delete("/tree/cart/b")
		g.want("cart", "c=1 HIT")
		w.delete("/tree/cart/c")
		g.want("cart", "HIT")
		w.delete("/tree/cart")
		g.want("cart", "none HIT")
	}
	// Persistent directories with all in them, one after the other and at once.
	for _, name := range []string{"a", "b", "c", "d"} {
		w.put("/tree/"+name+"/1", "1")
		w.put("/tree/"+name+"/2", "1")
		g.want(name, "1=1 2=1 HIT")
	}
	w.deleteAll("/tree/a")
	w.deleteAll("/tree/b")
	w.deleteAtOnce("/tree/c/1", "/tree/c/2", "/tree/c", "/tree/d/1", "/tree/d/2", "/tree/d")
	for _, name := range []string{"a", "b", "c", "d"} {
		g.want(name, "none HIT")
	}
	// Directories of an owner that has another record, at once.
	w.directory("/tree/other")
	w.ephemeral("/tree/other/1", "1")
	for _, name := range []string{"a", "b", "c", "d"} {
		w.directory("/tree/" + name)
		w.ephemeral("/tree/"+name+"/1", "1")
		g.want(name, "1=1 HIT")
	}
	w.deleteAtOnce("/tree/a/1", "/tree/a", "/tree/b/1", "/tree/b", "/tree/c/1", "/tree/c", "/tree/d/1", "/tree/d")
	for _, name := range []string{"a", "b", "c", "d"} {
		g.want(name, "none HIT")
	}
	g.want("other", "1=1 HIT")
	// What has gone in the ordinary way does not come back because an owner takes others back.
	end := w.register("1", "/tree/cart/e")
	w.register("1", "/tree/cart/f")
	for _, name := range []string{"a", "b", "c", "d"} {
		w.ephemeral("/tree/cart/"+name, "1")
	}
	g.want("cart", "a=1 b=1 c=1 d=1 e=1 f=1 HIT")
	end()
	g.want("cart", "a=1 b=1 c=1 d=1 f=1 HIT")
	w.deleteAtOnce("/tree/cart/a", "/tree/cart/b", "/tree/cart/c")
	g.want("cart", "d=1 f=1 HIT")
	w.delete("/tree/cart/d")
	g.want("cart", "f=1 HIT")
	g.eventually(func() string { return strings.Join(paths(g.Problems()), " ") })

	// All but one at once. The owner is known to live by the one that is left.
	w.directory("/tree/last")
	for _, name := range []string{"a", "b", "c"} {
		w.ephemeral("/tree/last/"+name, "1")
	}
	g.want("last", "a=1 b=1 c=1 HIT")
	w.deleteAtOnce("/tree/last/a", "/tree/last/b")
	g.want("last", "c=1 HIT")
	g.eventually(func() string { return strings.Join(paths(g.Problems()), " ") })
}

// TestTreeGuardOfAll: if most records of the whole tree have gone, the directories serve them that
// have lost their only one, and those that have lost none are HIT.
func TestTreeGuardOfAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	names := []string{"a", "b", "c", "d", "e", "f"}
	end := map[string]func(){}
	for _, name := range names {
		end[name] = w.register("1", "/tree/"+name+"/1")
	}
	g := w.grove(Config{ShrinkGuard: DefaultShrinkGuard}, mixed)
	for i, name := range names[:5] {
		end[name]()
		if i < 3 { // no more than half
			g.want(name, "HIT")
		}
	}
	for _, name := range names[:5] {
		g.want(name, "1=1 STALE")
	}
	g.want("f", "1=1 HIT")
	g.want("none", "none HIT")
	if got := paths(g.Problems()); !slices.Equal(got, []string{"/tree"}) {
		t.Errorf("problems: %v", got)
	}
	w.register("2", "/tree/a/1") // this one is back, and another has come
	w.register("2", "/tree/b/9")
	g.want("a", "1=2 HIT")
	g.want("b", "9=2 HIT")
	g.want("c", "1=1 STALE") // no more than half is missing, but somebody may not be done yet
	for _, name := range names[2:5] {
		end[name] = w.register("2", "/tree/"+name+"/1")
	}
	g.want("c", "1=2 HIT")
	g.eventually(func() string { return strings.Join(paths(g.Problems()), " ") })

	// One session had all of it.
	one := w.register("3", "/tree/x/1", "/tree/y/1", "/tree/z/1", "/tree/z/2", "/tree/z/3", "/tree/z/4", "/tree/z/5", "/tree/z/6")
	g.want("x", "1=3 HIT")
	g.want("z", "1=3 2=3 3=3 4=3 5=3 6=3 HIT")
	one()
	g.want("x", "1=3 STALE")
	g.want("z", "1=3 2=3 3=3 4=3 5=3 6=3 STALE")
	if !g.Accept("/tree") {
		t.Error("there is nothing to accept")
	}
	g.want("x", "HIT")
	g.eventually(func() string {
		if g.Accept("/tree/z"); g.text("z") != "HIT" {
			return "z is " + g.text("z")
		}
		return ""
	})
	g.eventually(func() string { return strings.Join(paths(g.Problems()), " ") })
}

// TestTreeGuardReturns: a record that is back, and has not been read again, is still one that the guard
// serves. If that has been so for too long, there is no answer, rather than one without such records.
func TestTreeGuardReturns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	end := w.register("1", "/tree/cart/a", "/tree/cart/b", "/tree/cart/c")
	w.register("1", "/tree/blog/a", "/tree/blog/b", "/tree/blog/c", "/tree/blog/d")
	g := w.grove(Config{ShrinkGuard: DefaultShrinkGuard}, mixed)
	end()
	g.want("cart", "a=1 b=1 c=1 STALE")
	v := g.tree.t.find("cart")
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.sets[0]
	s.nodes["a"] = s.regain("a") // as a list does that has it, before it is read
	doubts := s.doubts()
	for _, name := range []string{"a", "b"} {
		if d := doubts.Of(name); d == nil || !d.Gone || !d.Held || d.Since.IsZero() {
			t.Errorf("the doubt about %s is %+v", name, d)
		}
	}
}

// TestTreeGuardZxid: the transaction of an answer does not go back if the newest record is taken back
// while the guard serves others.
func TestTreeGuardZxid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	end := w.register("1", "/tree/cart/a", "/tree/cart/b", "/tree/cart/c")
	w.register("1", "/tree/blog/a", "/tree/blog/b", "/tree/blog/c", "/tree/blog/d")
	w.register("1", "/tree/cart/d", "/tree/cart/e")
	g := w.grove(Config{ShrinkGuard: DefaultShrinkGuard}, mixed)
	end()
	g.want("cart", "a=1 b=1 c=1 d=1 e=1 STALE")
	newest := w.put("/tree/cart/d", "2")
	g.want("cart", "a=1 b=1 c=1 d=2 e=1 STALE")
	w.delete("/tree/cart/d")
	g.want("cart", "a=1 b=1 c=1 e=1 STALE")
	_, meta, err := g.tree.Get(g.soon(), "cart", discovery.ReadOptions{})
	if err != nil || meta.Zxid < newest {
		t.Errorf("the transaction is %#x (%v), and was %#x", meta.Zxid, err, newest)
	}
}

// TestTreeGuardEnds: if no more than the allowed part is missing, and nothing has come or gone for a
// while, the rest has gone for good.
func TestTreeGuardEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	end := w.register("1", "/tree/cart/a", "/tree/cart/b", "/tree/cart/c")
	w.register("1", "/tree/cart/d")
	for _, name := range []string{"a", "b", "c", "d"} {
		w.register("1", "/tree/"+name+"/1")
	}
	g := w.grove(Config{ShrinkGuard: DefaultShrinkGuard, lossWindow: 10 * time.Second}, mixed)
	g.want("cart", "a=1 b=1 c=1 d=1 HIT")
	end()
	g.want("cart", "a=1 b=1 c=1 d=1 STALE")
	w.register("2", "/tree/cart/a")
	g.want("cart", "a=2 d=1 HIT")
	g.eventually(func() string { return strings.Join(paths(g.Problems()), " ") })
}
