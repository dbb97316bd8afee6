package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
)

func counted(c prometheus.Counter) float64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		panic(err)
	}
	return m.GetCounter().GetValue()
}

func (w *world) drift() float64 { return counted(w.cache.metrics.drift) }

// TestAuditFindsNoDrift: while everything changes all the time.
func TestAuditFindsNoDrift(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const many = 200
	names := make([]string, many)
	for i := range names {
		names[i] = fmt.Sprint("shop-", i)
		w.shop(names[i], "ash1")
	}
	c := w.open(Config{AuditRate: 2000, MaxBytes: 150 * (entryBytes + 3*8)})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			name := names[rand.N(many)]
			switch path := layout.Shop(name); n % 4 {
			case 0:
				_ = w.zk.Delete(ctx, path, zk.AnyVersion)
			case 1:
				_, _, _ = w.zk.Create(ctx, path, []byte(`{"datacenter":"ash2"}`), zk.CreateOptions{})
			case 2:
				_, _ = w.zk.Set(ctx, path, fmt.Appendf(nil, `{"datacenter":"dc-%d"}`, n), zk.AnyVersion)
			case 3:
				_, _ = w.zk.Set(ctx, layout.Datacenter("ash1"), fmt.Appendf(nil, `{"region":"us-east1","capacity":%d,"assigned":1,"open":true}`, n), zk.AnyVersion)
			}
		}
	})
	running.Go(func() {
		for ctx.Err() == nil {
			w.ask(names[rand.N(many)])
		}
	})
	w.eventually(func() string {
		if n := counted(c.metrics.audited); n < 400 {
			return fmt.Sprintf("%v audits", n)
		}
		return ""
	})
	cancel()
	running.Wait()
	if n := w.drift(); n != 0 {
		t.Errorf("%v drifts in a cache that is true", n)
	}
}

// TestAuditFindsDrift: what no watch tells of, and what has gone wrong in memory.
func TestAuditFindsDrift(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	w.shop("43", "ash1")
	w.put(layout.BadCitizenList("a"), "203.0.113.1\n")
	c := w.open(Config{AuditRate: 100})
	found := float64(0)
	finds := func() {
		t.Helper()
		found++
		w.eventually(func() string {
			if n := w.drift(); n != found {
				return fmt.Sprintf("%v drifts found, want %v", n, found)
			}
			return ""
		})
	}
	for _, name := range []string{"42", "43", "none"} {
		w.ask(name)
	}
	w.expect("42", "ash1", discovery.Hit)

	corrupt := func(change func(*record)) {
		e := c.index.entry(c.hash("42"))
		rec := *e.rec.Load()
		change(&rec)
		e.rec.Store(&rec)
	}
	corrupt(func(r *record) { r.value = unsafe.Pointer(&shops.Home{Datacenter: "elsewhere"}) })
	finds()
	w.expect("42", "ash1", discovery.Hit)
	corrupt(func(r *record) { r.zxid++ })
	finds()
	w.expect("42", "ash1", discovery.Hit)
	corrupt(func(r *record) { r.value, r.zxid = nil, 0 })
	finds()
	w.expect("42", "ash1", discovery.Hit)

	// A watch that is lost. The server does not tell of the change.
	lose := func(path string) {
		t.Helper()
		s := c.index.entry(c.hash("43")).rec.Load().epoch.session
		w.removeWatch(s, path)
	}
	lose(layout.Shop("43"))
	w.shop("43", "ash2")
	finds()
	w.expect("43", "ash2", discovery.Hit)
	lose(layout.Shop("none"))
	w.shop("none", "ash1")
	finds()
	w.expect("none", "ash1", discovery.Hit)

	// A child of a directory.
	lists := c.sets()[2]
	lists.v.mu.Lock()
	lists.nodes["a"].value = shops.BadCitizenList{Name: "a"}
	lists.v.mu.Unlock()
	finds()
	w.removeWatch(c.views.session, layout.Datacenter("ash1"))
	w.datacenter("ash1", "us-east1", 99)
	finds()
	w.eventually(func() string {
		topology, _, err := c.Topology(w.soon(), discovery.ReadOptions{})
		w.must(err)
		if d, _ := topology.Datacenter("ash1"); d.Assigned != 99 {
			return fmt.Sprintf("ash1 is %+v", d)
		}
		return ""
	})

	// It stays at that.
	before := counted(c.metrics.audited)
	w.eventually(func() string {
		if counted(c.metrics.audited) < before+15 {
			return "no audits"
		}
		return ""
	})
	if n := w.drift(); n != found {
		t.Errorf("%v drifts, want %v", n, found)
	}
}
