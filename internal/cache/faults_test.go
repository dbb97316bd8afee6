package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// TestServerAway: last known values are served, marked STALE and aging; what
// changed meanwhile is seen once the server is back.
func TestServerAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	c := w.open(Config{})
	w.ask("42")
	w.expect("42", "ash1", discovery.Hit)

	w.must(w.server.Kill())
	first := w.expect("42", "ash1", discovery.Stale)
	w.eventually(func() string {
		if _, meta := w.ask("42"); meta.Age <= first.Age+time.Second {
			return fmt.Sprintf("age stays at %v", meta.Age)
		}
		return ""
	})
	if _, meta, err := c.Topology(w.soon(), discovery.ReadOptions{}); err != nil || meta.Cache != discovery.Stale {
		t.Errorf("topology: %v, %v", meta.Cache, err)
	}
	// What is not in memory, or must be fresh, fails rather than hangs.
	for _, opt := range []discovery.ReadOptions{{}, {Fresh: true}} {
		if _, _, err := c.Shop(w.soon(), "never asked for", opt); !errors.Is(err, discovery.ErrUnavailable) {
			t.Errorf("%+v: %v, want ErrUnavailable", opt, err)
		}
	}
	if _, _, err := c.Topology(w.soon(), discovery.ReadOptions{Fresh: true}); !errors.Is(err, discovery.ErrUnavailable) {
		t.Errorf("fresh topology: %v, want ErrUnavailable", err)
	}

	w.must(w.server.Restart())
	w.must(w.zk.WaitReady(w.soon()))
	w.shop("42", "ash2")
	w.shop("never asked for", "ash1")
	w.expect("42", "ash2", discovery.Hit)
	w.expect("never asked for", "ash1", discovery.Hit)
	w.eventually(func() string {
		if _, meta, err := c.Topology(w.soon(), discovery.ReadOptions{}); err != nil || meta.Cache != discovery.Hit {
			return fmt.Sprintf("topology: %v, %v", meta.Cache, err)
		}
		return ""
	})
}

// TestServerHangs: a server that is paused says nothing, and the age shows it
// before any state changes.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	w.open(Config{})
	w.ask("42")
	w.expect("42", "ash1", discovery.Hit)
	w.must(w.server.Pause())
	defer w.server.Resume()
	w.eventually(func() string {
		if _, meta := w.ask("42"); meta.Age < 3*time.Second {
			return fmt.Sprintf("age %v while the server is paused", meta.Age)
		}
		return ""
	})
	w.must(w.server.Resume())
	w.eventually(func() string {
		if _, meta := w.ask("42"); meta.Age > 2*time.Second || meta.Cache != discovery.Hit {
			return fmt.Sprintf("age %v (%v) after the server went on", meta.Age, meta.Cache)
		}
		return ""
	})
}

// TestExpiry: the session and all its watches are gone. Entries are read again
// by themselves, those that nobody asks for too.
func TestExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	names := make([]string, 200)
	for i := range names {
		names[i] = fmt.Sprint("shop-", i)
		w.shop(names[i], "ash1")
	}
	w.put(layout.BadCitizensDir()+"/a", "203.0.113.1\n")
	c := w.open(Config{})
	c.Shops(w.soon(), names, discovery.ReadOptions{}, make([]shops.ShopRead, len(names)))

	s := c.sessions.list()[0]
	old := s.epoch.Load()
	w.must(w.server.Expire(s.client.SessionCredentials()))
	for _, name := range names {
		w.shop(name, "ash2")
	}
	w.datacenter("ash1", "us-east1", 99)
	w.put(layout.BadCitizensDir()+"/b", "203.0.113.2\n")
	w.eventually(func() string {
		if old.ended.Load() == 0 {
			return "the epoch goes on"
		}
		bad := 0
		for _, name := range names {
			rec := c.index.entry(c.hash(name)).rec.Load()
			if !rec.vouched() || (*shops.Home)(rec.value).Datacenter != "ash2" {
				bad++
			}
		}
		if bad > 0 {
			return fmt.Sprintf("%d of %d entries were not read again", bad, len(names))
		}
		topology, meta, err := c.Topology(w.soon(), discovery.ReadOptions{})
		w.must(err)
		if d, _ := topology.Datacenter("ash1"); d.Assigned != 99 || meta.Cache != discovery.Hit {
			return fmt.Sprintf("topology has %+v (%v)", d, meta.Cache)
		}
		list, _, err := c.Blocklist(w.soon(), discovery.ReadOptions{})
		w.must(err)
		if n := listed(list); n != 2 {
			return fmt.Sprintf("%d bad citizens, want 2", n)
		}
		return ""
	})
}

// TestFreshAfterExpiry: what the lost session held has not been read again yet
// when somebody asks for what ZooKeeper holds now.
func TestFreshAfterExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	c := w.open(Config{})
	w.ask("42")
	w.expect("42", "ash1", discovery.Hit)
	s := c.sessions.list()[0]
	for i := range 5 { // revalidation comes in between now and then
		old := s.epoch.Load()
		w.must(w.server.Expire(s.client.SessionCredentials()))
		want := fmt.Sprint("dc-", i)
		zxid := w.shop("42", want)
		w.eventually(func() string {
			if old.ended.Load() == 0 || !s.live.Load() {
				return "the session is not back"
			}
			return ""
		})
		opt := discovery.ReadOptions{Fresh: true}
		if i%2 == 1 {
			opt = discovery.ReadOptions{MinZxid: zxid}
		}
		got, meta := w.askWith("42", opt)
		readAgain := !opt.Fresh && meta.Cache == discovery.Hit // before it was asked for
		if got != want || meta.Cache != discovery.Miss && !readAgain {
			t.Errorf("%+v: %s (%v), want %s", opt, got, meta.Cache, want)
		}
	}
}

// TestEviction: memory is bounded, evicted entries' watches leave the server,
// and what was evicted is answered right when it is asked for again.
func TestEviction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const many, room = 600, 100
	for i := range many {
		w.shop(fmt.Sprint("shop-", i), "ash1")
	}
	c := w.open(Config{MaxBytes: room * (entryBytes + 3*8)})
	ofDirectories := w.watches()
	for round := range 3 {
		for i := range many {
			if got, _ := w.ask(fmt.Sprint("shop-", i)); got != "ash1" {
				t.Fatalf("round %d: shop %d is %s", round, i, got)
			}
		}
	}
	w.eventually(func() string {
		c.keep.Wait()
		entries, loading := c.index.len()
		leaving := 0
		for i := range c.index.shards {
			sh := &c.index.shards[i]
			sh.mu.Lock()
			leaving += len(sh.leaving)
			sh.mu.Unlock()
		}
		watches := w.watches() - ofDirectories
		if entries == 0 || entries > room*11/10 || loading > 0 || leaving > 0 || watches != entries {
			return fmt.Sprintf("%d entries, %d loading, %d leaving, %d watches on the server", entries, loading, leaving, watches)
		}
		var cost int64
		c.index.each(func(_ uint64, e *entry) { cost += int64(zk.WatchCost(layout.Shop(e.name))) })
		fixed := int64(0)
		for _, v := range []*view{c.topology, c.blocklist} {
			for _, s := range v.sets {
				fixed += 2 * int64(zk.WatchCost(s.dir))
				for name := range s.nodes {
					fixed += int64(zk.WatchCost(s.path(name)))
				}
			}
		}
		fixed += 2 * int64(zk.WatchCost(layout.Root))
		if reserved := c.sessions.list()[0].reserved.Load(); reserved != cost+fixed {
			return fmt.Sprintf("%d bytes of watches counted, want %d", reserved, cost+fixed)
		}
		return ""
	})
	for i := range many {
		w.shop(fmt.Sprint("shop-", i), "ash2")
	}
	for i := range many {
		w.eventually(func() string {
			if got, _ := w.ask(fmt.Sprint("shop-", i)); got != "ash2" {
				return "shop is " + got
			}
			return ""
		})
	}
}

// TestManySessions: watches are spread over sessions before one is full, and
// each session's share comes back after its own expiry.
func TestManySessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const many = 300
	names := make([]string, many)
	for i := range names {
		names[i] = fmt.Sprint("shop-", i)
		w.shop(names[i], "ash1")
	}
	budget := int64(60 * zk.WatchCost(layout.Shop("shop-100")))
	c := w.open(Config{watchBudget: budget, MaxSessions: 7})
	out := make([]shops.ShopRead, many)
	c.Shops(w.soon(), names, discovery.ReadOptions{}, out)
	for i, r := range out {
		if r.Err != nil || r.Value.Datacenter != "ash1" {
			t.Fatalf("%s: %+v", names[i], r)
		}
	}
	all := c.sessions.list()
	if len(all) < 5 || len(all) > 7 {
		t.Errorf("%d sessions for %d watches of which one carries 60", len(all), many)
	}
	for _, s := range all {
		if n := s.reserved.Load(); n > budget {
			t.Errorf("session %d carries %d bytes of watches, more than %d", s.number, n, budget)
		}
	}
	w.must(w.server.Expire(all[2].client.SessionCredentials()))
	for _, name := range names {
		w.shop(name, "ash2")
	}
	for _, name := range names {
		w.expect(name, "ash2", discovery.Hit)
	}

	// Once all sessions are full, shops are answered without being kept.
	for i := range 200 {
		name := fmt.Sprint("more-", i)
		w.shop(name, "ash1")
		if got, _ := w.ask(name); got != "ash1" {
			t.Fatalf("%s is %s", name, got)
		}
	}
	if c.metrics == nil || len(c.sessions.list()) != 7 {
		t.Errorf("%d sessions, want all 7", len(c.sessions.list()))
	}
}

// TestOverload: reads that wait are bounded.
func TestOverload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(Config{InFlight: 2, MaxWaiting: 10})
	w.must(w.server.Pause())
	defer w.server.Resume()
	var refused atomic.Int32
	var asking sync.WaitGroup
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for i := range 100 {
		asking.Go(func() {
			_, _, err := c.Shop(ctx, fmt.Sprint("shop-", i), discovery.ReadOptions{})
			if errors.Is(err, discovery.ErrOverloaded) {
				refused.Add(1)
			}
		})
	}
	asking.Wait()
	if n := refused.Load(); n < 80 {
		t.Errorf("%d of 100 were refused, want all but the 12 that may be in flight or wait", n)
	}
	w.must(w.server.Resume())
	w.eventually(func() string {
		if got, _ := w.ask("after"); got != "absent" {
			return "after the overload: " + got
		}
		return ""
	})
}

// TestNeverBackInTime writes rising numbers to shops while readers ask, a
// session expires now and then, followers are killed and restarted, and a tiny
// cache evicts all the time. No reader may see a shop's number fall.
func TestNeverBackInTime(t *testing.T) {
	ensemble := zktest.StartEnsemble(t, 3)
	w := &world{T: t, server: ensemble.Servers[0]}
	w.zk = w.client(zk.Config{Servers: ensemble.Addrs()})
	w.put(layout.Root, "")
	const many = 60
	name := func(i int) string { return fmt.Sprint("shop-", i) }
	for i := range many {
		w.shop(name(i), "0")
	}
	c := w.open(Config{
		ZooKeeper:   zk.Config{Servers: ensemble.Addrs(), SessionTimeout: 4 * time.Second},
		MaxBytes:    20 * (entryBytes + 3*8),
		watchBudget: int64(15 * zk.WatchCost(layout.Shop("shop-10"))),
	})

	ctx, cancel := context.WithTimeout(context.Background(), 12*time.Second)
	defer cancel()
	var running sync.WaitGroup
	var reads, writes atomic.Int64
	running.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			i := rand.N(many)
			if _, err := w.zk.Set(ctx, layout.Shop(name(i)), []byte(`{"datacenter":"`+strconv.Itoa(n)+`"}`), zk.AnyVersion); err == nil {
				writes.Add(1)
			}
		}
	})
	var highest [many]atomic.Int64
	for range 8 {
		running.Go(func() {
			for ctx.Err() == nil {
				i := rand.N(many)
				floor := highest[i].Load() // what somebody has seen before this read began
				shop, _, err := c.Shop(ctx, name(i), discovery.ReadOptions{Fresh: rand.N(50) == 0})
				if err != nil {
					if !errors.Is(err, discovery.ErrUnavailable) && ctx.Err() == nil {
						t.Errorf("%s: %v", name(i), err)
					}
					continue
				}
				reads.Add(1)
				n, _ := strconv.ParseInt(shop.Datacenter, 10, 64)
				if n < floor {
					t.Errorf("%s went back from %d to %d", name(i), floor, n)
				}
				for old := highest[i].Load(); n > old && !highest[i].CompareAndSwap(old, n); old = highest[i].Load() {
				}
			}
		})
	}
	running.Go(func() {
		for round := 0; ctx.Err() == nil; round++ {
			select {
			case <-ctx.Done():
				return
			case <-time.After(1500 * time.Millisecond):
			}
			all := c.sessions.list()
			s := all[rand.N(len(all))]
			if round%2 == 0 {
				id, password := s.client.SessionCredentials()
				_ = w.server.Expire(id, password) // may race with a server that is down
				continue
			}
			if f := ensemble.Followers(); len(f) > 0 {
				_ = f[0].Kill()
				_ = f[0].Restart()
			}
		}
	})
	running.Wait()
	t.Logf("%d reads, %d writes, %d sessions", reads.Load(), writes.Load(), len(c.sessions.list()))
	if reads.Load() < 1000 || writes.Load() < 100 {
		t.Error("too little happened to prove anything")
	}
}

// TestOverloadForgetsNothing: a change in a directory, and the watch of what
// was evicted, come while too many reads wait.
func TestOverloadForgetsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	c := w.open(Config{InFlight: 1, MaxWaiting: 1})
	w.ask("42")
	w.expect("42", "ash1", discovery.Hit)
	c.keep.Wait()
	watches, s := w.watches(), c.sessions.list()[0]
	s.mu.Lock()
	s.inFlight++ // one read that takes long
	s.mu.Unlock()
	asked := make(chan string, 1)
	go func() {
		got, _ := w.ask("none")
		asked <- got
	}()
	w.eventually(func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.waiting[callers].len() == 0 {
			return "nobody waits"
		}
		return ""
	})
	if _, _, err := c.Shop(w.soon(), "another", discovery.ReadOptions{}); !errors.Is(err, discovery.ErrOverloaded) {
		t.Errorf("there was room: %v", err)
	}
	hash := c.hash("42")
	c.drop(hash, c.index.entry(hash))
	c.keep.Del(hash)
	w.datacenter("ash1", "us-east1", 99)
	w.eventually(func() string {
		if c.topology.dirty.Load() == 0 {
			return "the change is not seen"
		}
		return ""
	})
	s.release()
	if got := <-asked; got != "absent" {
		t.Errorf("the one that waited: %s", got)
	}
	w.eventually(func() string {
		topology, _, err := c.Topology(w.soon(), discovery.ReadOptions{})
		w.must(err)
		if d, _ := topology.Datacenter("ash1"); d.Assigned != 99 {
			return fmt.Sprintf("the change is forgotten: %+v", d)
		}
		if n := w.watches(); n != watches { // none for 42, and one for what is absent
			return fmt.Sprintf("%d watches on the server, want %d", n, watches)
		}
		return ""
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(Config{InFlight: 1})
	w.must(w.server.Pause())
	defer w.server.Resume()
	errs := make(chan error, 10)
	for i := range cap(errs) {
		go func() {
			_, _, err := c.Shop(w.soon(), fmt.Sprint("shop-", i), discovery.ReadOptions{})
			errs <- err
		}()
	}
	w.eventually(func() string {
		if _, loading := c.index.len(); loading < cap(errs) {
			return "reads have not begun"
		}
		return ""
	})
	w.must(c.Close())
	for range cap(errs) {
		if err := <-errs; !errors.Is(err, discovery.ErrUnavailable) {
			t.Errorf("a read during Close ended with %v", err)
		}
	}
	w.must(c.Close())
	if _, _, err := c.Shop(w.soon(), "42", discovery.ReadOptions{}); !errors.Is(err, discovery.ErrUnavailable) {
		t.Errorf("a read after Close ended with %v", err)
	}
}

func TestProblemsAreExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	c := w.open(Config{})
	w.ask("42")
	w.expect("42", "ash1", discovery.Hit)
	x, ok := c.Explain(layout.Shop("42"))
	if !ok || !x.Held || !x.Watched || x.Value != "datacenter ash1" || x.SessionID == 0 || x.Cache != "HIT" {
		t.Errorf("%+v, %v", x, ok)
	}
	if x, ok := c.Explain(layout.Datacenter("ash1")); !ok || !x.Held || !x.Watched || !strings.Contains(x.Value, "us-east1") {
		t.Errorf("%+v, %v", x, ok)
	}
	w.put(layout.BadCitizenList("a"), "203.0.113.1\n203.0.113.2\nnonsense\n")
	w.eventually(func() string { // how long it is, and not what is in it
		if x, _ := c.Explain(layout.BadCitizenList("a")); x.Value != "2 entries, 1 bad lines" {
			return fmt.Sprintf("%+v", x)
		}
		return ""
	})
	if x, ok := c.Explain(layout.DatacentersDir()); !ok || !x.Held || x.Value != "2 znodes" {
		t.Errorf("%+v, %v", x, ok)
	}
	if x, ok := c.Explain("/elsewhere"); ok {
		t.Errorf("%+v", x)
	}
}

// TestHistoryLost: ZooKeeper comes back from a backup, and what was served of a
// shop has never been, by the zxids. It must not be served for ever.
func TestHistoryLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 200 { // zxids rise
		w.datacenter("ash1", "us-east1", i)
	}
	w.shop("42", "ash1")
	c := w.open(Config{})
	w.expect("42", "ash1", discovery.Hit)
	s := c.sessions.list()[0]
	lost := s.epoch.Load()

	w.must(w.server.Kill())
	w.must(os.RemoveAll(filepath.Join(w.server.Dir(), "data", "version-2")))
	w.must(w.server.Start())
	w.must(w.server.WaitReady())
	w.zk = w.client(zk.Config{Servers: []string{w.server.Addr()}})
	w.directories()
	w.shop("42", "ash2")
	for i := range 300 { // servers refuse a client that has seen more than they have
		w.datacenter("ash1", "us-east1", i)
	}
	w.eventually(func() string {
		if lost.ended.Load() == 0 || !s.live.Load() {
			return "the session goes on"
		}
		return ""
	})
	// At first it may be a server that lags, or one that has not noticed yet that
	// it leads no longer.
	if got, meta := w.ask("42"); got != "ash1" || meta.Cache != discovery.Stale {
		t.Errorf("%s, %v", got, meta)
	}
	if got, _ := w.askWith("42", discovery.ReadOptions{Fresh: true}); got == "ash1" || got == "ash2" {
		t.Errorf("%s is what ZooKeeper holds now, it says", got)
	}
	lost.ended.Add(-int64(zk.DefaultLostAfter))
	w.expect("42", "ash2", discovery.Hit)
}
