package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
	"magellan/internal/zk/zkmetrics"
)

// manySessions opens a cache that needs many sessions for few shops, and fills it.
func manySessions(w *world, cfg Config) (c *mirror, names []string) {
	w.Helper()
	names = make([]string, 150)
	for i := range names {
		names[i] = "shop-" + strconv.Itoa(100+i)
	}
	cfg.watchBudget = int64(10 * zk.WatchCost(layout.Shop(names[0])))
	c = w.open(cfg)
	out := make([]shops.ShopRead, len(names))
	c.Shops(w.soon(), names, discovery.ReadOptions{}, out)
	if n := len(c.sessions.list()); n < 12 {
		w.Fatalf("%d sessions", n)
	}
	return c, names
}

// TestFreshSyncsSideBySide: one lookup with no-cache syncs all sessions at the same
// time, twice each.
func TestFreshSyncsSideBySide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	registry := prometheus.NewRegistry()
	observer, err := zkmetrics.New(registry)
	w.must(err)
	c, names := manySessions(w, Config{ZooKeeper: zk.Config{Observer: observer, Heartbeat: -1}})
	out := make([]shops.ShopRead, len(names))
	of := map[*session]bool{}
	for _, name := range names {
		of[c.index.entry(c.hash(name)).rec.Load().epoch.session] = true
	}
	before := requests(t, registry, "sync")
	w.must(w.server.Pause())
	defer w.server.Resume()
	asking := make(chan struct{})
	go func() {
		defer close(asking)
		c.Shops(w.soon(), names, discovery.ReadOptions{Fresh: true}, out)
	}()
	w.eventually(func() string { // none has been answered
		syncing := 0
		for s := range of {
			s.syncs.mu.Lock()
			if s.syncs.running {
				syncing++
			}
			s.syncs.mu.Unlock()
		}
		if syncing != len(of) {
			return fmt.Sprintf("%d of %d sessions are being synced", syncing, len(of))
		}
		return ""
	})
	w.must(w.server.Resume())
	<-asking
	for i, r := range out {
		if !errors.Is(r.Err, discovery.ErrNotFound) || r.Meta.Cache != discovery.Miss {
			t.Errorf("%s: %+v", names[i], r)
		}
	}
	if n := requests(t, registry, "sync") - before; n != 2*len(of) {
		t.Errorf("%d syncs of %d sessions", n, len(of))
	}
}

// TestFreshTakesAsLongAsOneSession: behind a slow link many sessions take hardly
// longer than one, the second syncs as the first.
func TestFreshTakesAsLongAsOneSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.New(io.Discard)),
		"zk", "127.0.0.1:0", w.server.Addr())
	w.must(p.Start())
	t.Cleanup(p.Stop)
	c, names := manySessions(w, Config{ZooKeeper: zk.Config{Servers: []string{p.Listen}, Heartbeat: -1}})
	_, err := p.Toxics.AddToxicJson(strings.NewReader(`{"name":"far","type":"latency","stream":"downstream","attributes":{"latency":100}}`))
	w.must(err)
	fresh := discovery.ReadOptions{Fresh: true}
	out := make([]shops.ShopRead, len(names))
	var one, all []time.Duration
	for range 5 {
		begin := time.Now()
		if _, _, err := c.Shop(w.soon(), names[0], fresh); !errors.Is(err, discovery.ErrNotFound) {
			t.Error(err)
		}
		one = append(one, time.Since(begin))
		begin = time.Now()
		c.Shops(w.soon(), names, fresh, out)
		all = append(all, time.Since(begin))
	}
	slices.Sort(one)
	slices.Sort(all)
	sessions := len(c.sessions.list())
	if ratio := float64(all[2]) / float64(one[2]); ratio > float64(sessions)/3 {
		t.Errorf("%d sessions took %.1f times as long as one: %v and %v", sessions, ratio, all, one)
	}
	t.Logf("%d sessions: %v, one: %v", sessions, all, one)
}

// TestFreshReadsSideBySide: what has to be read after the syncs, as nothing vouches
// for it, is under way before any of it is waited for.
func TestFreshReadsSideBySide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(Config{})
	names := w.fillAbsent(100)
	s := c.sessions.list()[0]
	w.eventually(func() string { // the round that follows Open would read them as well
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.round.due || s.round.more {
			return "the first round is not over"
		}
		return ""
	})
	free := heldBack(s)
	defer free()
	for _, name := range names {
		e := c.index.entry(c.hash(name))
		e.rec.Store(e.rec.Load().superseded(c.now()))
	}
	out := make([]shops.ShopRead, len(names))
	asking := make(chan struct{})
	go func() {
		defer close(asking)
		c.Shops(w.soon(), names, discovery.ReadOptions{Fresh: true}, out)
	}()
	w.eventually(func() string {
		if _, loading := c.index.len(); loading != len(names) {
			return fmt.Sprintf("%d of %d reads are under way", loading, len(names))
		}
		return ""
	})
	free()
	<-asking
	for i, r := range out {
		if !errors.Is(r.Err, discovery.ErrNotFound) || r.Meta.Cache != discovery.Miss {
			t.Errorf("%s: %+v", names[i], r)
		}
	}
}

// TestFreshIsNotAnsweredFromMemory: one whose time is over before ZooKeeper has been
// asked gets no answer, though there is one in memory.
func TestFreshIsNotAnsweredFromMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	c := w.open(Config{ZooKeeper: zk.Config{Heartbeat: -1}})
	w.expect("42", "ash1", discovery.Hit)
	w.must(w.server.Pause())
	defer w.server.Resume()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	fresh := discovery.ReadOptions{Fresh: true}
	if shop, meta, err := c.Shop(over, "42", fresh); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %+v, %v", shop, meta, err)
	}
	out := make([]shops.ShopRead, 1)
	if c.Shops(over, []string{"42"}, fresh, out); !errors.Is(out[0].Err, context.Canceled) {
		t.Errorf("%+v", out[0])
	}
}
