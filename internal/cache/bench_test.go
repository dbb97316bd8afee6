package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	goruntime "runtime/metrics"
	"sync"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// newFilled returns a cache that holds shops without a datacenter of their own
// in ZooKeeper: they are absent there, which costs a read and a watch each all
// the same. There is room for as many, see absentShare.
func newFilled(b *testing.B, count int) (*zktest.Server, *mirror, []string) {
	server := zktest.Start(b)
	client, err := zk.Open(zk.Config{Servers: []string{server.Addr()}, Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	if err := client.WaitReady(ctx); err != nil {
		b.Fatal(err)
	}
	if _, _, err := client.Create(ctx, layout.Root, nil, zk.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	c, err := openMirror(Config{ZooKeeper: zk.Config{Servers: []string{server.Addr()}, Logger: quiet}, Logger: quiet, MaxBytes: 2 << 30})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	if err := c.WaitReady(ctx); err != nil {
		b.Fatal(err)
	}
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("shop-%07d", i)
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	out := make([]shops.ShopRead, 10_000)
	for at := 0; at < len(names); at += len(out) {
		c.Shops(ctx, names[at:min(at+len(out), len(names))], discovery.ReadOptions{}, out)
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return server, c, names
}

func BenchmarkGet(b *testing.B) {
	_, c, names := newFilled(b, 200_000)
	ctx := context.Background()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		_, meta, _ := c.Shop(ctx, names[i%len(names)], discovery.ReadOptions{})
		if meta.Cache == discovery.Miss {
			b.Fatal("not in memory")
		}
		i++
	}
}

// BenchmarkShops reads 1,000 shops at once; ns/shop is what one of them takes.
func BenchmarkMany(b *testing.B) {
	_, c, names := newFilled(b, 200_000)
	ctx := context.Background()
	out := make([]shops.ShopRead, 1000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		at := i * len(out) % len(names)
		c.Shops(ctx, names[at:at+len(out)], discovery.ReadOptions{}, out)
		i++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(i*len(out)), "ns/shop")
}

// BenchmarkRevalidation has all sessions expire at once, and waits until everything
// has been read again. live-MiB is how much more memory is reachable meanwhile, at
// most, than before.
func BenchmarkRevalidation(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	server, c, _ := newFilled(b, 200_000)
	live := []goruntime.Sample{{Name: "/gc/heap/live:bytes"}}
	reachable := func() float64 {
		goruntime.Read(live)
		return float64(live[0].Value.Uint64()) / (1 << 20)
	}
	most := 0.0
	for b.Loop() {
		b.StopTimer()
		runtime.GC()
		before := reachable()
		var expiring sync.WaitGroup
		for _, s := range c.sessions.list() {
			expiring.Go(func() {
				old := s.epoch.Load()
				for old.ended.Load() == 0 {
					_ = server.Expire(s.client.SessionCredentials()) // its owner may be quicker
				}
			})
		}
		b.StartTimer()
		expiring.Wait()
		for left := 1; left > 0; {
			left = 0
			c.index.each(func(_ uint64, e *entry) {
				if !e.rec.Load().vouched() {
					left++
				}
			})
			most = max(most, reachable()-before)
			<-time.After(100 * time.Millisecond)
		}
	}
	b.ReportMetric(most, "live-MiB")
	b.ReportMetric(float64(len(c.sessions.list())), "sessions")
}
