package cache

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"magellan/internal/discovery"
)

// values notes each value of a directory that is published.
func (g *grove) values(dir string) func() []string {
	var mu sync.Mutex
	var all []string
	look := func() {
		mu.Lock()
		defer mu.Unlock()
		v := g.tree.t.find(dir)
		if v == nil {
			all = append(all, "none")
			return
		}
		if is := v.branch.reader.(*View[shelf]).current.Load(); is != nil && (len(all) == 0 || all[len(all)-1] != is.text) {
			all = append(all, is.text)
		}
	}
	look()
	g.Cleanup(g.Watch(shelfTopic(dir), observerFunc(look)).Stop)
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// TestSettle: a record that is deleted and another one that comes in its place are one change, and so
// are a deletion and what happens until the time is over. A caller who wants what ZooKeeper holds gets
// it meanwhile.
func TestSettle(t *testing.T) {
	w := newWorld(t)
	w.put("/tree/cart/a", "1")
	w.put("/tree/cart/b", "2")
	g := w.grove(Config{Settle: time.Hour}, mixed)
	g.want("cart", "a=1 b=2 HIT")
	values := g.values("cart")

	// Under the same name, and under another one.
	w.delete("/tree/cart/a")
	g.want("cart", "a=1 b=2 UPDATING")
	w.put("/tree/cart/a", "3")
	g.want("cart", "a=3 b=2 HIT")
	w.delete("/tree/cart/b")
	g.want("cart", "a=3 b=2 UPDATING")
	w.put("/tree/cart/c", "4")
	g.want("cart", "a=3 c=4 HIT")
	// The last one.
	w.delete("/tree/cart/a")
	w.delete("/tree/cart/c")
	w.put("/tree/cart/d", "5")
	g.want("cart", "a=3 c=4 UPDATING")
	w.put("/tree/cart/e", "6")
	g.want("cart", "d=5 e=6 HIT")
	if got, want := fmt.Sprint(values()), "[a=1 b=2 a=3 b=2 a=3 c=4 d=5 e=6]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// What is added or written waits for nothing.
	w.put("/tree/cart/d", "7")
	g.want("cart", "d=7 e=6 HIT")
	w.put("/tree/cart/f", "8")
	g.want("cart", "d=7 e=6 f=8 HIT")

	// Who wants what ZooKeeper holds gets it, and so does who names a transaction; and then everybody.
	for i, opt := range []discovery.ReadOptions{{Fresh: true}, {}} {
		name := []string{"d", "e"}[i]
		w.delete("/tree/cart/" + name)
		g.eventually(func() string { return differs(g.text("cart"), []string{"d=7 e=6 f=8 UPDATING", "e=6 f=8 UPDATING"}[i]) })
		if opt.MinZxid = w.put("/tree/mark", "1"); opt.Fresh {
			opt.MinZxid = 0
		}
		value, _, err := g.tree.Get(g.soon(), "cart", opt)
		if want := []string{"e=6 f=8", "f=8"}[i]; err != nil || value.text != want {
			t.Errorf("%+v: %v %v, want %s", opt, value, err, want)
		}
		g.want("cart", []string{"e=6 f=8 HIT", "f=8 HIT"}[i])
	}
	// A directory that goes is no record.
	w.deleteAll("/tree/cart")
	g.want("cart", "none HIT")
}

func differs(got, want string) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("%q, want %q", got, want)
}

// TestSettleEnds: a loss is published when the time is over, with its age counted from before it.
func TestSettleEnds(t *testing.T) {
	w := newWorld(t)
	w.put("/tree/cart/a", "1")
	w.put("/tree/cart/b", "2")
	g := w.grove(Config{Settle: 200 * time.Millisecond}, mixed)
	g.want("cart", "a=1 b=2 HIT")
	values := g.values("cart")
	w.delete("/tree/cart/a")
	g.want("cart", "b=2 HIT")
	w.delete("/tree/cart/b")
	g.want("cart", "HIT")
	if got, want := fmt.Sprint(values()), "[a=1 b=2 b=2 ]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// A second loss does not make the first one wait any longer.
	const records = 40
	for i := range records {
		w.put(fmt.Sprintf("/tree/blog/%d", i), "3")
	}
	g.eventually(func() string {
		return differs(fmt.Sprint(strings.Count(g.text("blog"), "=3")), fmt.Sprint(records))
	})
	values = g.values("blog")
	for i := range records {
		w.delete(fmt.Sprintf("/tree/blog/%d", i))
		time.Sleep(50 * time.Millisecond)
	}
	g.want("blog", "HIT")
	if len(values()) < 3 {
		t.Errorf("nothing was shown while one record after the other went: %q", values())
	}
}
