package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
)

// datacenters is how many datacenters are served, and how well they are known.
func (w *world) datacenters() (int, discovery.Meta) {
	w.Helper()
	all, basis := known(w, w.service().Datacenters)
	return len(all), basis.Meta
}

// blocklist returns the blocklist, and how well it is known as a whole.
func (w *world) blocklist() (*shops.Blocklist, discovery.Meta) {
	w.Helper()
	answer, basis := known(w, w.service().BadCitizens)
	return answer.Blocklist, basis.Meta
}

// known asks until there is an answer: a znode may not have been read yet.
func known[T any](w *world, ask func(context.Context, discovery.ReadOptions) (T, discovery.Basis, error)) (answer T, basis discovery.Basis) {
	w.Helper()
	w.eventually(func() (complaint string) {
		var err error
		if answer, basis, err = ask(w.soon(), discovery.ReadOptions{}); errors.Is(err, discovery.ErrUnread) {
			return err.Error()
		}
		w.must(err)
		return ""
	})
	return answer, basis
}

// service answers from the cache, and adds to what it says of an answer the doubts
// about what the answer is made of.
func (w *world) service() *shops.Service {
	w.Helper()
	s, err := shops.New(shops.Config{Reader: w.cache})
	w.must(err)
	return s
}

func (w *world) expectDatacenters(want int, status discovery.CacheStatus) {
	w.Helper()
	w.eventually(func() string {
		if n, meta := w.datacenters(); n != want || meta.Cache != status {
			return fmt.Sprintf("%d datacenters (%v), want %d (%v)", n, meta.Cache, want, status)
		}
		return ""
	})
}

// accepts is for eventually: an answer is STALE before the guard has judged, too.
func (w *world) accepts(path string) func() string {
	return func() string {
		if !w.cache.Accept(path) {
			return "nothing to accept at " + path
		}
		return ""
	}
}

// TestGuardOfASet deletes datacenters, one after the other as every tool does.
func TestGuardOfASet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := 3; i <= 6; i++ {
		w.datacenter(fmt.Sprint("ash", i), "us-east1", 10)
	}
	c := w.open(Config{ShrinkGuard: DefaultShrinkGuard})
	dir := layout.DatacentersDir()

	// Half of them may go.
	for i := 4; i <= 6; i++ {
		w.delete(layout.Datacenter(fmt.Sprint("ash", i)))
	}
	w.expectDatacenters(3, discovery.Hit)
	if c.Accept(dir) {
		t.Error("there was nothing to accept")
	}
	// The fourth is one too many: all six are served again, as what they were.
	zxid := w.zxidOf(dir)
	w.delete(layout.Datacenter("ash3"))
	w.eventually(func() string {
		if c.guarded() == 0 {
			return "nothing is held"
		}
		return ""
	})
	w.expectDatacenters(6, discovery.Stale)
	problem, ok := c.problems.get(dir)
	if !ok || !strings.Contains(problem.Error, "4 of 6") || !strings.Contains(problem.Error, "/admin/accept"+dir) || problem.ServedZxid != zxid {
		t.Errorf("%+v", problem)
	}
	if x, ok := c.Explain(layout.Datacenter("ash3")); !ok || !x.Held || !x.HeldBack {
		t.Errorf("%+v, %v", x, ok)
	}
	if n := c.guarded(); n != 1 {
		t.Errorf("%d sets are held", n)
	}

	// What is still there is followed, and so is what is new.
	w.datacenter("ash1", "us-east1", 77)
	w.datacenter("new1", "us-east1", 10)
	w.eventually(func() string {
		topology, _, err := c.Topology(w.soon(), discovery.ReadOptions{})
		w.must(err)
		if d, _ := topology.Datacenter("ash1"); d.Assigned != 77 {
			return fmt.Sprintf("ash1 is %+v", d)
		}
		if n := len(topology.Datacenters()); n != 7 {
			return fmt.Sprintf("%d datacenters, want the 6 and the new one", n)
		}
		return ""
	})
	// An honest age: it grows, as nothing says that the lost ones are true.
	w.eventually(func() string {
		if _, meta := w.datacenters(); meta.Age < time.Second {
			return fmt.Sprintf("age %v", meta.Age)
		}
		return ""
	})
	// A session that is lost changes nothing of it.
	s := c.sessions.list()[0]
	old := s.epoch.Load()
	w.must(w.server.Expire(s.client.SessionCredentials()))
	w.eventually(func() string {
		if old.ended.Load() == 0 || !s.live.Load() {
			return "the session goes on"
		}
		return ""
	})
	w.expectDatacenters(7, discovery.Stale)

	// While it is restored, one after the other, what is still missing is served: also
	// when that is no more than half.
	assigned := func(name string, want int64) {
		t.Helper()
		w.eventually(func() string {
			topology, meta, err := c.Topology(w.soon(), discovery.ReadOptions{})
			w.must(err)
			if d, _ := topology.Datacenter(name); d.Assigned != want {
				return fmt.Sprintf("%s is %+v, %+v", name, d, meta)
			}
			return ""
		})
	}
	for i := 3; i <= 5; i++ {
		w.datacenter(fmt.Sprint("ash", i), "us-west1", i)
		assigned(fmt.Sprint("ash", i), int64(i))
		w.expectDatacenters(7, discovery.Stale)
	}
	w.eventually(func() string {
		if p, _ := c.problems.get(dir); !strings.Contains(p.Error, "1 of 7") {
			return fmt.Sprintf("%+v", p)
		}
		return ""
	})
	w.datacenter("ash6", "us-west1", 6)
	assigned("ash6", 6)
	w.expectDatacenters(7, discovery.Hit)
	if _, ok := c.problems.get(dir); ok || c.guarded() != 0 {
		t.Error("the problem stays")
	}

	// Then as many may go as before, and one more is too much again, until an operator
	// says that it is meant.
	for i := 4; i <= 6; i++ {
		w.delete(layout.Datacenter(fmt.Sprint("ash", i)))
	}
	w.expectDatacenters(4, discovery.Hit)
	w.delete(layout.Datacenter("ash3"))
	w.expectDatacenters(7, discovery.Stale)
	w.eventually(w.accepts(dir))
	if c.Accept(dir) {
		t.Error("accepted twice")
	}
	w.expectDatacenters(3, discovery.Hit)
	if len(c.Problems()) != 0 || c.guarded() != 0 {
		t.Errorf("problems: %+v", c.Problems())
	}
	// And then that is what is compared with.
	w.delete(layout.Datacenter("ash2"))
	w.expectDatacenters(2, discovery.Hit)
}

// zxidOf is the transaction that last changed a znode's children.
func (w *world) zxidOf(dir string) int64 {
	w.Helper()
	_, st, err := w.zk.Children(w.soon(), dir)
	w.must(err)
	return st.Pzxid
}

// TestGuardOfATransaction: what one transaction deletes goes at once, and nobody sees
// the set without a part of it.
func TestGuardOfATransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := 3; i <= 8; i++ {
		w.datacenter(fmt.Sprint("ash", i), "us-east1", 10)
	}
	c := w.open(Config{ShrinkGuard: DefaultShrinkGuard})
	v, current := c.topology, &c.Topologies.(*View[shops.Topology]).current
	stop, seen := make(chan struct{}), make(chan int)
	go func() {
		least := 8
		defer func() { seen <- least }()
		for {
			v.mu.Lock()
			changed := v.changed
			v.mu.Unlock()
			least = min(least, len(current.Load().Datacenters()))
			select {
			case <-changed:
			case <-stop:
				return
			}
		}
	}()
	for range 10 {
		var gone, back []zk.Op
		for i := 1; i <= 6; i++ {
			path := layout.Datacenter(fmt.Sprint("ash", i))
			gone = append(gone, zk.DeleteOp(path, zk.AnyVersion))
			back = append(back, zk.CreateOp(path, []byte(`{"region":"us-east1","capacity":1000,"assigned":1,"open":true}`), zk.CreateOptions{}))
		}
		for _, ops := range [][]zk.Op{gone, back} {
			_, err := w.zk.Multi(w.soon(), ops...)
			w.must(err)
			w.eventually(func() string {
				if held := c.guarded() > 0; held != (&ops[0] == &gone[0]) {
					return fmt.Sprintf("held: %v", held)
				}
				return ""
			})
		}
		w.expectDatacenters(8, discovery.Hit)
	}
	close(stop)
	if n := <-seen; n != 8 {
		t.Errorf("for a moment there were %d datacenters, want all 8", n)
	}
}

// TestGuardOfTwo: the smallest set of which more than half can be lost by mistake.
func TestGuardOfTwo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open(Config{ShrinkGuard: DefaultShrinkGuard})
	w.expectDatacenters(2, discovery.Hit)
	w.delete(layout.Datacenter("ash1"))
	w.expectDatacenters(1, discovery.Hit)
	w.delete(layout.Datacenter("ash2"))
	w.expectDatacenters(2, discovery.Stale)
	w.eventually(w.accepts(layout.DatacentersDir()))
	w.expectDatacenters(0, discovery.Hit)
}

// TestGuardOfEverything: the directory itself goes.
func TestGuardOfEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.datacenter("ash3", "us-east1", 10)
	w.open(Config{ShrinkGuard: DefaultShrinkGuard})
	for i := 1; i <= 3; i++ {
		w.delete(layout.Datacenter(fmt.Sprint("ash", i)))
	}
	w.delete(layout.DatacentersDir())
	w.expectDatacenters(3, discovery.Stale)
	for i := 1; i <= 3; i++ {
		w.datacenter(fmt.Sprint("ash", i), "us-east1", 20+i)
	}
	w.expectDatacenters(3, discovery.Hit)
}

func TestGuardOfAList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lines := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "203.0.113.%d\n", i)
		}
		return b.String()
	}
	path := layout.BadCitizenList("a")
	w.put(path, lines(20))
	w.put(layout.BadCitizenList("b"), "198.51.100.1\n")
	c := w.open(Config{ShrinkGuard: DefaultShrinkGuard})
	expect := func(want int, status discovery.CacheStatus) {
		t.Helper()
		w.eventually(func() string {
			list, meta := w.blocklist()
			if n := listed(list); n != want || meta.Cache != status {
				return fmt.Sprintf("%d entries (%v), want %d (%v); problems: %+v", n, meta.Cache, want, status, c.Problems())
			}
			return ""
		})
	}
	expect(21, discovery.Hit)
	w.put(path, lines(10)) // half
	expect(11, discovery.Hit)
	w.put(path, lines(4))
	expect(11, discovery.Stale)
	w.put(layout.BadCitizenList("b"), "198.51.100.1\n198.51.100.2\n") // others are followed
	expect(12, discovery.Stale)
	w.put(path, "")
	w.eventually(func() string {
		if p, _ := c.problems.get(path); !strings.Contains(p.Error, "0 entries left of 10") {
			return fmt.Sprintf("%+v", p)
		}
		return ""
	})
	expect(12, discovery.Stale)
	w.put(path, lines(6)) // half of it is there again
	expect(8, discovery.Hit)
	w.put(path, lines(20))
	expect(22, discovery.Hit)
	w.put(path, "garbage\n") // no list at all: the parser keeps the last good value
	w.put(path, lines(3))
	expect(22, discovery.Stale)
	w.eventually(w.accepts(path))
	if c.Accept(path) {
		t.Error("accepted twice")
	}
	expect(5, discovery.Hit)

	// A list that is deleted has lost all its entries.
	w.put(path, lines(20))
	expect(22, discovery.Hit)
	w.delete(path)
	expect(22, discovery.Stale)
	w.put(path, lines(1)) // and this is no way around
	expect(22, discovery.Stale)
	w.put(path, lines(19))
	expect(21, discovery.Hit)
	w.delete(path)
	expect(21, discovery.Stale)
	w.eventually(w.accepts(path))
	if c.Accept(path) {
		t.Error("accepted twice")
	}
	expect(2, discovery.Hit)
	if len(c.Problems()) != 0 || c.guarded() != 0 {
		t.Errorf("problems: %+v", c.Problems())
	}
}

// TestAcceptOfASetOfLists: what the problem of the set says is gone goes, large
// lists too.
func TestAcceptOfASetOfLists(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lists := []string{"a", "b", "c"}
	for i, name := range lists {
		w.put(layout.BadCitizenList(name), fmt.Sprintf("203.0.113.%d\n", i)+strings.Repeat("198.51.100.1\n", 20*(i%2)))
	}
	c := w.open(Config{ShrinkGuard: DefaultShrinkGuard})
	for _, name := range lists {
		w.delete(layout.BadCitizenList(name))
	}
	dir := layout.BadCitizensDir()
	w.eventually(func() string {
		if p, _ := c.problems.get(dir); !strings.Contains(p.Error, "3 of 3") {
			return fmt.Sprintf("problems: %+v", c.Problems())
		}
		return ""
	})
	if !c.Accept(dir) {
		t.Error("not accepted")
	}
	w.eventually(func() string {
		list, meta := w.blocklist()
		if n := listed(list); n != 0 || meta.Cache != discovery.Hit || c.guarded() != 0 || len(c.Problems()) != 0 {
			return fmt.Sprintf("%d entries (%v), problems: %+v", n, meta.Cache, c.Problems())
		}
		return ""
	})
}

// TestGuardLeavesReplicasReady: a list that is held back grows old on all replicas
// at once. They can answer for shops, and none may ask load balancers to go.
func TestGuardLeavesReplicasReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := layout.BadCitizenList("a")
	var lines strings.Builder
	for i := range minEntries {
		fmt.Fprintf(&lines, "203.0.113.%d\n", i)
	}
	w.put(path, lines.String())
	c := w.open(Config{ShrinkGuard: DefaultShrinkGuard})
	w.delete(path)
	const old = 3 * time.Second // more than passes between two heartbeats
	w.eventually(func() string {
		if age, ok := c.Age(); !ok || age < old {
			return fmt.Sprintf("what is served is %v old", age)
		}
		if age, ok := c.ReadyAge(); !ok || age >= old {
			return fmt.Sprintf("readiness goes by an age of %v", age)
		}
		return ""
	})
	// Without ZooKeeper it grows.
	w.must(w.server.Pause())
	w.eventually(func() string {
		if age, ok := c.ReadyAge(); !ok || age < old {
			return fmt.Sprintf("readiness goes by an age of %v", age)
		}
		return ""
	})
	w.must(w.server.Resume())
	w.eventually(func() string {
		if age, ok := c.ReadyAge(); !ok || age >= old {
			return fmt.Sprintf("readiness goes by an age of %v", age)
		}
		return ""
	})
}
