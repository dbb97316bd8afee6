package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"magellan/internal/alloctest"
	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
	"magellan/internal/zk/zkmetrics"

	"github.com/prometheus/client_golang/prometheus"
)

func TestShop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	zxid := w.shop("42", "ash1")
	c := w.open(Config{})

	got, meta := w.ask("42")
	if got != "ash1" || meta.Cache != discovery.Miss || meta.Zxid != zxid {
		t.Errorf("first: %s %+v, want ash1, MISS, zxid %d", got, meta, zxid)
	}
	w.expect("42", "ash1", discovery.Hit)

	zxid = w.shop("42", "ash2")
	if meta := w.expect("42", "ash2", discovery.Hit); meta.Zxid != zxid {
		t.Errorf("zxid %d after a change, want %d", meta.Zxid, zxid)
	}

	// Absence is an answer, kept under a watch.
	if got, meta := w.ask("new"); got != "absent" || meta.Cache != discovery.Miss {
		t.Errorf("unknown shop: %s %v", got, meta.Cache)
	}
	w.expect("new", "absent", discovery.Hit)
	w.shop("new", "ash1")
	w.expect("new", "ash1", discovery.Hit)
	w.delete(layout.Shop("new"))
	w.expect("new", "absent", discovery.Hit)

	// Deleted and created again the znode has the same version.
	w.delete(layout.Shop("42"))
	w.shop("42", "ash1")
	w.expect("42", "ash1", discovery.Hit)

	for _, bad := range []string{"", "a/b", ".", "..", "a\x00b", "\xff", strings.Repeat("x", 10_000)} {
		if _, _, err := c.Shop(w.soon(), bad, discovery.ReadOptions{}); !errors.Is(err, discovery.ErrInvalidName) {
			t.Errorf("shop %.20q: %v, want ErrInvalidName", bad, err)
		}
	}
}

func TestShopAllocatesNothingOnHit(t *testing.T) {
	w := newWorld(t)
	w.shop("42", "ash1")
	c := w.open(Config{})
	w.ask("42")
	w.expect("42", "ash1", discovery.Hit)
	ctx := context.Background()
	if n := alloctest.Fewest(func() {
		if _, _, err := c.Shop(ctx, "42", discovery.ReadOptions{}); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%d allocations per hit", n)
	}
}

func TestProblem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := w.shop("42", "ash1")
	w.put(layout.Shop("broken"), `{"datacenter":7}`)
	c := w.open(Config{})
	w.ask("42")
	w.expect("42", "ash1", discovery.Hit)

	bad := w.put(layout.Shop("42"), `{"datacenter":`)
	meta := w.expect("42", "ash1", discovery.Stale)
	w.eventually(func() string {
		p, ok := c.problems.get(layout.Shop("42"))
		if !ok || p.Zxid != bad || p.ServedZxid != good {
			return fmt.Sprintf("problem is %+v, want zxid %d, served %d", p, bad, good)
		}
		return ""
	})
	if meta.Zxid != good {
		t.Errorf("served zxid %d, want %d", meta.Zxid, good)
	}

	// Never readable: no answer, and a problem as well.
	w.ask("broken")
	w.expect("broken", "unreadable", discovery.Hit)
	if n := len(c.Problems()); n != 2 {
		t.Errorf("%d problems, want 2: %+v", n, c.Problems())
	}

	// A broken znode is still watched.
	w.shop("42", "ash2")
	w.expect("42", "ash2", discovery.Hit)
	w.shop("broken", "ash2")
	w.expect("broken", "ash2", discovery.Hit)
	w.noProblems()
}

// TestProblemWithoutWatch: a znode that could not be read for want of permission
// has no watch that would tell when it can. It is read again when asked for.
func TestProblemWithoutWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	c := w.open(Config{})
	w.ask("42")
	w.expect("42", "ash1", discovery.Hit)
	e := c.index.entry(c.hash("42"))
	// Again and again until the revalidation that follows Open is surely over.
	for end := time.Now().Add(2 * spread); time.Now().Before(end); {
		e.rec.Store(e.rec.Load().superseded(c.now()))
		c.problems.report(layout.Shop("42"), zk.ErrNoAuth, 0, 0)
		w.expect("42", "ash1", discovery.Hit)
	}
	w.noProblems()
}

func TestLargeAndEmptyZnodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(layout.Shop("large"), `{"datacenter":"ash1","note":"`+strings.Repeat("x", 1_000_000)+`"}`)
	w.put(layout.Shop("empty"), "")
	_, _, err := w.zk.Create(w.soon(), layout.Shop("null"), nil, zk.CreateOptions{})
	if errors.Is(err, zk.ErrNoNode) {
		w.put(layout.Shop("null"), "")
		err = nil
	}
	w.must(err)
	w.open(Config{})
	for name, want := range map[string]string{"large": "ash1", "empty": "unreadable", "null": "unreadable"} {
		if got, _ := w.ask(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestSingleFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	registry := prometheus.NewRegistry()
	observer, err := zkmetrics.New(registry)
	w.must(err)
	w.open(Config{ZooKeeper: zk.Config{Observer: observer}})
	before := requests(t, registry, "get")
	var asking sync.WaitGroup
	for range 64 {
		asking.Go(func() {
			if got, _ := w.ask("42"); got != "ash1" {
				t.Errorf("got %s", got)
			}
		})
	}
	asking.Wait()
	if n := requests(t, registry, "get") - before; n != 1 {
		t.Errorf("64 callers made %d reads, want 1", n)
	}
}

// requests counts the client's requests of one kind.
func requests(t *testing.T, g prometheus.Gatherer, op string) (n int) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := false
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "op" && m.GetCounter() != nil {
					seen = true
					if l.GetValue() == op {
						n += int(m.GetCounter().GetValue())
					}
				}
			}
		}
	}
	if !seen {
		t.Fatal("no counter has a label op")
	}
	return n
}

func TestShops(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var names []string
	for i := range 500 {
		name := fmt.Sprintf("shop-%03d", i)
		names = append(names, name)
		if i%2 == 0 {
			w.shop(name, "ash1")
		}
	}
	names = append(names, "not/a/name")
	c := w.open(Config{})
	out := make([]shops.ShopRead, len(names))
	for round, status := range []discovery.CacheStatus{discovery.Miss, discovery.Hit} {
		c.Shops(w.soon(), names, discovery.ReadOptions{}, out)
		for i, r := range out[:500] {
			switch {
			case r.Meta.Cache != status:
				t.Fatalf("round %d: %s is %v, want %v", round, names[i], r.Meta.Cache, status)
			case i%2 == 0 && (r.Err != nil || r.Value.Datacenter != "ash1"):
				t.Fatalf("round %d: %+v", round, r)
			case i%2 == 1 && !errors.Is(r.Err, discovery.ErrNotFound):
				t.Fatalf("round %d: %+v", round, r)
			}
		}
		if !errors.Is(out[500].Err, discovery.ErrInvalidName) {
			t.Errorf("round %d: %v", round, out[500].Err)
		}
	}
}

// TestShopsAreAsOldAsTheirAnswer: what is in memory grows older while others are
// waited for.
func TestShopsAreAsOldAsTheirAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	w.shop("43", "ash1")
	c := w.open(Config{})
	w.expect("42", "ash1", discovery.Hit)
	w.expect("43", "ash1", discovery.Hit)
	w.must(w.server.Pause())
	defer w.server.Resume()
	const wait = time.Second
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	out := make([]shops.ShopRead, 3)
	began := c.now()
	c.Shops(ctx, []string{"42", "cold", "43"}, discovery.ReadOptions{}, out)
	waited := time.Duration(c.now() - began)
	for _, i := range []int{0, 2} {
		if age := out[i].Meta.Age; out[i].Err != nil || age < waited/2 {
			t.Errorf("%+v, %v, after %v", out[i].Meta, out[i].Err, waited)
		}
	}
	if !errors.Is(out[1].Err, context.DeadlineExceeded) {
		t.Errorf("%+v", out[1])
	}
}

// TestFresh writes and at once asks for what ZooKeeper holds now: read your
// writes, for what is in memory, what is absent and what was never asked for.
func TestFresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(Config{})
	fresh := discovery.ReadOptions{Fresh: true}
	for i := range 200 {
		name := fmt.Sprint("shop-", i%3)
		want := fmt.Sprint("dc-", i)
		w.shop(name, want)
		if got, meta := w.askWith(name, fresh); got != want || meta.Cache != discovery.Miss {
			t.Fatalf("write %d: %s (%v), want %s (MISS)", i, got, meta.Cache, want)
		}
		w.datacenter("ash1", "us-east1", i)
		topology, _, err := c.Topology(w.soon(), fresh)
		w.must(err)
		if d, _ := topology.Datacenter("ash1"); d.Assigned != int64(i) {
			t.Fatalf("write %d: topology has %d", i, d.Assigned)
		}
		if i%10 == 9 {
			w.delete(layout.Shop(name))
			if got, _ := w.askWith(name, fresh); got != "absent" {
				t.Fatalf("after delete %d: %s", i, got)
			}
		}
	}
}

// TestEntryKeepsItsNameOnly: a name that is a piece of a request's body must not
// keep the body alive.
func TestEntryKeepsItsNameOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(Config{})
	body := "42 " + strings.Repeat("x", 1000)
	w.ask(body[:2])
	if kept := c.index.entry(c.hash("42")).name; unsafe.StringData(kept) == unsafe.StringData(body) {
		t.Error("the entry's name is a piece of the caller's string")
	}
}

// TestHashCollision: of two names with one hash only one can be kept; both are
// answered right.
func TestHashCollision(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	c := w.open(Config{})
	hash := c.hash("42")
	sh := c.index.shard(hash)
	other := &entry{name: "other"}
	other.rec.Store(&record{zxid: 1, epoch: c.sessions.list()[0].epoch.Load()})
	sh.mu.Lock()
	sh.insert(hash, other)
	sh.mu.Unlock()
	for range 3 {
		if got, meta := w.ask("42"); got != "ash1" || meta.Cache != discovery.Miss {
			t.Errorf("got %s (%v)", got, meta.Cache)
		}
	}
	if got, _ := w.askWith("42", discovery.ReadOptions{Fresh: true}); got != "ash1" {
		t.Errorf("fresh: got %s", got)
	}
	if e := c.index.entry(hash); e != other {
		t.Error("the other name was pushed out")
	}
}

// TestReadAfterEvictionSyncs: what left the cache may have been served newer
// than another session's server is, so its next read begins with a sync. What
// was never held needs none.
func TestReadAfterEvictionSyncs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	registry := prometheus.NewRegistry()
	observer, err := zkmetrics.New(registry)
	w.must(err)
	c := w.open(Config{ZooKeeper: zk.Config{Observer: observer, Heartbeat: -1}})
	syncs := func() int { return requests(t, registry, "sync") }
	w.ask("42")
	w.expect("42", "ash1", discovery.Hit)

	before := syncs()
	hash := c.hash("42")
	c.keep.Wait()
	c.drop(hash, c.index.entry(hash))
	c.keep.Del(hash)
	if got, meta := w.ask("42"); got != "ash1" || meta.Cache != discovery.Miss {
		t.Errorf("after eviction: %s (%v)", got, meta.Cache)
	}
	if n := syncs() - before; n != 1 {
		t.Errorf("%d syncs for a shop that was held before, want 1", n)
	}
	// So it is for what was answered without being kept.
	w.shop("once", "ash1")
	once := c.hash("once")
	r := c.homes.readOnce(once, "once", layout.Shop("once"))
	if shop, _, err := c.homes.await(w.soon(), r, nil); err != nil || (*shops.Home)(shop).Datacenter != "ash1" {
		t.Errorf("read once: %+v, %v", shop, err)
	}
	before = syncs()
	w.ask("once")
	if n := syncs() - before; n != 1 {
		t.Errorf("%d syncs for a shop that was answered before, want 1", n)
	}
	other := "43"
	for c.hash(other)>>52 == hash>>52 || c.hash(other)>>52 == once>>52 { // another bucket of evictions
		other += "x"
	}
	before = syncs()
	w.ask(other)
	if n := syncs() - before; n != 0 {
		t.Errorf("%d syncs for a shop that never was, want 0", n)
	}
}
