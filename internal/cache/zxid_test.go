package cache

import (
	"context"
	"errors"
	"math"
	"strconv"
	"sync"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// TestMinZxid: who has written something reads it, a shop as well as a child
// of a directory, and a transaction that never was is an error and no hang.
func TestMinZxid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	w.shop("43", "ash1")
	c := w.open(Config{ZooKeeper: zk.Config{Heartbeat: -1}})
	w.ask("42")
	for i, datacenter := range []string{"ash2", "ash1", "ash2"} {
		at := discovery.ReadOptions{MinZxid: w.shop("42", datacenter)}
		if got, meta := w.askWith("42", at); got != datacenter || meta.Zxid < at.MinZxid {
			t.Errorf("after moving it to %s the shop is in %s (%v)", datacenter, got, meta)
		}
		// What the transaction did not touch, in memory and not.
		if got, _ := w.askWith("43", at); got != "ash1" {
			t.Errorf("43 is %s", got)
		}
		if got, _ := w.askWith("none", at); got != "absent" {
			t.Errorf("none is %s", got)
		}
		at.MinZxid = w.datacenter("ash1", "us-east1", 100+i)
		topology, _, err := c.Topology(w.soon(), at)
		w.must(err)
		if d, _ := topology.Datacenter("ash1"); d.Assigned != int64(100+i) {
			t.Errorf("the topology has %+v", d)
		}
	}
	// What is known already needs no sync: it would fail now.
	known := discovery.ReadOptions{MinZxid: c.sessions.list()[0].client.SettledZxid()}
	w.must(w.server.Pause())
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, _, err := c.Shop(ctx, "42", known); err != nil {
		t.Error(err)
	}
	if _, _, err := c.Topology(ctx, known); err != nil {
		t.Error(err)
	}
	if _, _, err := c.Shop(ctx, "42", discovery.ReadOptions{MinZxid: known.MinZxid + 1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with the server paused: %v", err)
	}
	w.must(w.server.Resume())

	future := discovery.ReadOptions{MinZxid: 1 << 60}
	out := make([]shops.ShopRead, 2)
	c.Shops(w.soon(), []string{"42", "never asked for"}, future, out)
	for _, read := range out {
		if !errors.Is(read.Err, discovery.ErrZxidNotReached) {
			t.Errorf("a shop as of the future: %v", read.Err)
		}
	}
	if _, _, err := c.Blocklist(w.soon(), future); !errors.Is(err, discovery.ErrZxidNotReached) {
		t.Errorf("the blocklist as of the future: %v", err)
	}
}

// TestReadYourWritesFromLaggingFollower: the cache reads from a follower that
// hears nothing of the writes while it is stopped; no answer to one who wrote may
// lack the write.
func TestReadYourWritesFromLaggingFollower(t *testing.T) {
	ensemble := zktest.StartEnsemble(t, 3)
	leader, err := ensemble.Leader()
	if err != nil {
		t.Fatal(err)
	}
	follower := ensemble.Followers()[0]
	w := &world{T: t, server: follower}
	w.zk = w.client(zk.Config{Servers: []string{leader.Addr()}})
	w.put(layout.Root, "")
	w.datacenter("ash0", "us-east1", 0)
	w.shop("42", "ash0")
	w.open(Config{ZooKeeper: zk.Config{Servers: []string{follower.Addr()}}})
	w.ask("42")
	lagged := 0
	for _, datacenter := range []string{"ash1", "ash2", "ash3", "ash4", "ash5"} {
		w.must(follower.Pause())
		zxid := w.shop("42", datacenter)
		if got, _ := w.ask("42"); got != datacenter {
			lagged++
		}
		type answer struct {
			datacenter string
			meta       discovery.Meta
		}
		answers := make(chan answer, 4)
		for range cap(answers) {
			go func() {
				got, meta := w.askWith("42", discovery.ReadOptions{MinZxid: zxid})
				answers <- answer{got, meta}
			}()
		}
		w.must(follower.Resume())
		for range cap(answers) {
			if got := <-answers; got.datacenter != datacenter || got.meta.Zxid != zxid {
				t.Errorf("after the write of %s at %#x: %+v", datacenter, zxid, got)
			}
		}
	}
	if lagged == 0 {
		t.Error("the follower never lagged, so nothing was proved")
	}
}

// TestReadYourWritesFromLeader: the cache reads from the leader, which answers a
// sync with what it has applied, while a follower acknowledges what the leader has
// committed and is about to apply.
func TestReadYourWritesFromLeader(t *testing.T) {
	ensemble := zktest.StartEnsemble(t, 3)
	leader, err := ensemble.Leader()
	if err != nil {
		t.Fatal(err)
	}
	follower := ensemble.Followers()[0]
	w := &world{T: t, server: leader}
	w.zk = w.client(zk.Config{Servers: []string{follower.Addr()}})
	w.put(layout.Root, "")
	c := w.open(Config{ZooKeeper: zk.Config{Servers: []string{leader.Addr()}}})
	var writers sync.WaitGroup
	for i := range 4 {
		client := w.client(zk.Config{Servers: []string{follower.Addr()}})
		writers.Go(func() {
			path := layout.Shop(strconv.Itoa(i))
			w.shop(strconv.Itoa(i), "ash0")
			for n := range 1000 {
				want := "ash" + strconv.Itoa(n)
				st, err := client.Set(w.soon(), path, []byte(`{"datacenter":"`+want+`"}`), zk.AnyVersion)
				if err != nil {
					t.Error(err)
					return
				}
				shop, meta, err := c.Shop(w.soon(), strconv.Itoa(i), discovery.ReadOptions{MinZxid: st.Mzxid})
				if err != nil || shop.Datacenter != want || meta.Zxid != st.Mzxid {
					t.Errorf("after the write of %s at %#x: %+v, %+v, %v", want, st.Mzxid, shop, meta, err)
				}
			}
		})
	}
	writers.Wait()
}

// TestFutureOfManySessions: a transaction that never was is waited for once, and not
// on each session of a lookup.
func TestFutureOfManySessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	names := make([]string, 60)
	for i := range names {
		names[i] = "shop-" + strconv.Itoa(10+i)
	}
	c := w.open(Config{watchBudget: int64(10 * zk.WatchCost(layout.Shop("shop-10")))})
	out := make([]shops.ShopRead, len(names))
	c.Shops(w.soon(), names, discovery.ReadOptions{}, out)
	future := discovery.ReadOptions{MinZxid: 1 << 60}
	// A machine may stand still in one of the two, but not in each round.
	least := math.Inf(1)
	for range 3 {
		begin := time.Now()
		if _, _, err := c.Shop(w.soon(), names[0], future); !errors.Is(err, discovery.ErrZxidNotReached) {
			t.Errorf("one shop: %v", err)
		}
		one := time.Since(begin)
		begin = time.Now()
		c.Shops(w.soon(), names, future, out)
		least = min(least, float64(time.Since(begin))/float64(one))
		for i, r := range out {
			if !errors.Is(r.Err, discovery.ErrZxidNotReached) {
				t.Errorf("%s: %v", names[i], r.Err)
			}
		}
	}
	if sessions := len(c.sessions.list()); sessions < 5 || least > 3 {
		t.Errorf("on %d sessions it took %.1f times as long as on one", sessions, least)
	}
}

// TestReached: what ZooKeeper holds of a transaction and what cannot be served, as it
// does not parse, is no answer to one who asks for that transaction.
func TestReached(t *testing.T) {
	for _, tt := range []struct {
		zxid      int64
		cache     discovery.CacheStatus
		err, want error
	}{
		{3, discovery.Stale, nil, discovery.ErrUnavailable},
		{0, discovery.Stale, discovery.ErrNotFound, discovery.ErrUnavailable},
		{5, discovery.Stale, nil, nil},
		{3, discovery.Miss, nil, nil},
		{0, discovery.Stale, discovery.ErrOverloaded, discovery.ErrOverloaded},
	} {
		value, _, err := reached(5, "value", discovery.Meta{Zxid: tt.zxid, Cache: tt.cache}, tt.err)
		if !errors.Is(err, tt.want) || (err == nil) != (value == "value") && tt.err == nil {
			t.Errorf("%+v: %q, %v", tt, value, err)
		}
	}
}
