package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/cache"
	"magellan/internal/discovery"
	"magellan/internal/zk"
	"magellan/internal/zk/zkmetrics"
	"magellan/internal/zk/zktest"
)

// scaleCmd keeps a number of shops in memory and watched, in one process over as
// many sessions as it takes; restarts their server; evicts half of them; and
// reports a scaleResult. What the server says of its watches is the proof.
type scaleCmd struct {
	Shops int    `required:"" help:"How many."`
	Dir   string `required:"" help:"Where ZooKeeper keeps its data." placeholder:"DIR"`
}

// scaleResult is what scaleCmd has found. Bytes are of this process.
type scaleResult struct {
	Shops, Sessions int
	// Watches are the server's count, without those of directories and their children.
	Watches int
	// FullestSession is the largest number of bytes that a session's watches take
	// in the request that sets them again; Budget is what they may take.
	FullestSession, Budget float64
	FillSeconds            float64
	Memory                 holdResult // what the shops have added
	rearmed
	Reread float64 // shops, meanwhile
	// HitsAfter is how many shops were answered from memory then.
	HitsAfter int
	// With room for half of the shops: what was kept, and the server's count.
	Kept, KeptWatches int
}

// rearmed is how a server that was killed and started again got a cache's watches again.
type rearmed struct {
	// RearmSeconds is the time from when the server was seen to take sessions to when it had
	// all watches, RestartSeconds that from when its process was started. Reconnects is how
	// many connections that took.
	RearmSeconds, RestartSeconds, Reconnects float64
}

// scaleSessionTimeout outlives the restart of a server that has to replay a
// million transactions.
const scaleSessionTimeout = 2 * time.Minute

// Run measures.
func (s *scaleCmd) Run(ctx context.Context) (err error) {
	server, err := startScaleServer(s.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if err := (dataset{shops: s.Shops}).load(ctx, server.Addr()); err != nil {
		return err
	}
	r := scaleResult{Shops: s.Shops}
	if err := s.whole(ctx, server, &r); err != nil {
		return err
	}
	if err := s.half(ctx, server, &r); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func startScaleServer(dir string) (*zktest.Server, error) {
	return zktest.New(zktest.Config{
		Dir:  dir,
		Java: []string{"-Xmx4g", "-XX:TieredStopAtLevel=4", "-Dzookeeper.forceSync=no"},
		// Ticks are what sessions expire by.
		Lines: []string{"tickTime=2000", "snapCount=100000000"},
	})
}

// openScale opens a cache with metrics.
func openScale(ctx context.Context, server *zktest.Server, maxBytes int64) (*shopCache, *prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	observer, err := zkmetrics.New(registry)
	if err != nil {
		return nil, nil, err
	}
	c, err := startCache(ctx, cache.Config{
		ZooKeeper:  zk.Config{Servers: []string{server.Addr()}, SessionTimeout: scaleSessionTimeout, Observer: observer},
		MaxBytes:   maxBytes,
		Logger:     slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Registerer: registry,
	})
	return c, registry, err
}

// whole has all shops in memory, and restarts the server.
func (s *scaleCmd) whole(ctx context.Context, server *zktest.Server, r *scaleResult) error {
	c, registry, err := openScale(ctx, server, cacheBytes(s.Shops))
	if err != nil {
		return err
	}
	defer c.Close()
	ofDirectories, err := watchesOf(server)
	if err != nil {
		return err
	}
	before, err := memory()
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := s.readAll(ctx, c); err != nil {
		return err
	}
	r.FillSeconds = time.Since(began).Seconds()
	after, err := memory()
	if err != nil {
		return err
	}
	r.Memory = after.minus(before)
	if r.Watches, err = watchesOf(server); err != nil {
		return err
	}
	r.Watches -= ofDirectories
	if r.Watches != s.Shops {
		return fmt.Errorf("the server holds %d watches for %d shops", r.Watches, s.Shops)
	}
	if r.Sessions, r.FullestSession, r.Budget, err = budgetOf(registry); err != nil {
		return err
	}
	return s.restart(ctx, server, c, registry, ofDirectories, r)
}

// budgetOf returns how many sessions a cache has, how many bytes the watches of the fullest take,
// and how many they may take. That these are no more is checked.
func budgetOf(registry *prometheus.Registry) (sessions int, fullest, budget float64, err error) {
	m, err := gather(registry)
	if err != nil {
		return 0, 0, 0, err
	}
	fullest, budget = m["magellan_cache_session_watch_bytes"].max, m["magellan_cache_session_watch_budget_bytes"].max
	if fullest > budget {
		err = fmt.Errorf("a session's watches take %.0f bytes, more than %.0f", fullest, budget)
	}
	return int(m["magellan_cache_sessions"].sum), fullest, budget, err
}

// restartServer kills a server and starts it again, and returns when it holds so many watches, as
// count says, and the cache's sessions are live.
func restartServer(ctx context.Context, server *zktest.Server, registry *prometheus.Registry, count func(*zktest.Server) (int, error), watches, sessions int) (r rearmed, err error) {
	before, err := gather(registry)
	if err != nil {
		return r, err
	}
	if err := server.Kill(); err != nil {
		return r, err
	}
	started := time.Now()
	if err := server.Start(); err != nil {
		return r, err
	}
	if err := until(ctx, "see the server read its log", server.WaitReady); err != nil {
		return r, err
	}
	began := time.Now()
	var m map[string]samples
	err = until(ctx, "have all watches again", func() (err error) {
		if m, err = gather(registry); err != nil {
			return err
		}
		held, err := count(server)
		if live := int(m["magellan_cache_sessions_live"].sum); err == nil && (held != watches || live != sessions) {
			err = fmt.Errorf("%d watches of %d, %d sessions of %d", held, watches, live, sessions)
		}
		return err
	})
	r.RearmSeconds, r.RestartSeconds = time.Since(began).Seconds(), time.Since(started).Seconds()
	r.Reconnects = m["magellan_zk_connections_total"].sum - before["magellan_zk_connections_total"].sum
	return r, err
}

func (s *scaleCmd) restart(ctx context.Context, server *zktest.Server, c *shopCache, registry *prometheus.Registry, ofDirectories int, r *scaleResult) error {
	before, err := gather(registry)
	if err != nil {
		return err
	}
	if r.rearmed, err = restartServer(ctx, server, registry, watchesOf, ofDirectories+s.Shops, r.Sessions); err != nil {
		return err
	}
	m, err := gather(registry)
	if err != nil {
		return err
	}
	r.Reread = m["magellan_cache_revalidations_total"].sum - before["magellan_cache_revalidations_total"].sum
	if r.HitsAfter, err = s.readAll(ctx, c); err != nil {
		return err
	}
	if r.HitsAfter != s.Shops {
		return fmt.Errorf("after the restart %d of %d shops are in memory", r.HitsAfter, s.Shops)
	}
	return s.changes(ctx, server, c)
}

// changes proves that the watches tell: shops all over the sessions are moved.
func (s *scaleCmd) changes(ctx context.Context, server *zktest.Server, c *shopCache) error {
	client, err := openClient(ctx, server.Addr())
	if err != nil {
		return err
	}
	defer client.Close()
	const moved = 500
	for i := range moved {
		name := shopName(i * (s.Shops / moved))
		if _, err := client.Set(ctx, layout.Shop(name), []byte(`{"datacenter":"moved"}`), zk.AnyVersion); err != nil {
			return err
		}
	}
	return until(ctx, "hear of all changes", func() error {
		for i := range moved {
			name := shopName(i * (s.Shops / moved))
			shop, meta, err := c.Shop(ctx, name, discovery.ReadOptions{})
			if err != nil || shop.Datacenter != "moved" || meta.Cache != discovery.Hit {
				return fmt.Errorf("%s is in %s (%v, %v)", name, shop.Datacenter, meta.Cache, err)
			}
		}
		return nil
	})
}

// half has room for half of the shops, and reads all of them: the server must
// hold a watch for each that is kept and for no other.
func (s *scaleCmd) half(ctx context.Context, server *zktest.Server, r *scaleResult) error {
	c, registry, err := openScale(ctx, server, cacheBytes(s.Shops)/2)
	if err != nil {
		return err
	}
	defer c.Close()
	var ofDirectories int
	err = until(ctx, "be rid of the first cache's watches", func() (err error) {
		if ofDirectories, err = watchesOf(server); err == nil && ofDirectories > 100 {
			err = fmt.Errorf("%d are left", ofDirectories)
		}
		return err
	})
	if err != nil {
		return err
	}
	if _, err := s.readAll(ctx, c); err != nil {
		return err
	}
	return until(ctx, "take the watches off that are not needed", func() error {
		m, err := gather(registry)
		if err != nil {
			return err
		}
		if r.KeptWatches, err = watchesOf(server); err != nil {
			return err
		}
		r.KeptWatches -= ofDirectories
		r.Kept = int(m["magellan_cache_entries"].sum)
		if r.Kept != r.KeptWatches || r.Kept >= s.Shops || m["magellan_cache_reads_in_flight"].sum != 0 {
			return fmt.Errorf("%d shops are kept of %d, and the server holds %d watches", r.Kept, s.Shops, r.KeptWatches)
		}
		return nil
	})
}

// readAll reads all shops and returns how many were in memory. What a new
// session was not live for in time, on a machine with much else to do, it reads
// again.
func (s *scaleCmd) readAll(ctx context.Context, c *shopCache) (hits int, err error) {
	hold := holdCmd{Shops: s.Shops}
	err = until(ctx, "read all shops", func() (err error) {
		hits, err = hold.readAll(ctx, c)
		return err
	})
	return hits, err
}

// until polls for some minutes.
func until(ctx context.Context, what string, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain to %s: %w", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// watchesOf asks a server how many watches it holds on data and existence.
func watchesOf(server *zktest.Server) (int, error) {
	return numberIn(server, "wchs", "Total watches:")
}

// allWatchesOf asks a server how many watches it holds, with those on children.
func allWatchesOf(server *zktest.Server) (int, error) {
	return numberIn(server, "mntr", "zk_watch_count")
}

// numberIn returns the number that a server says behind a label.
func numberIn(server *zktest.Server, word, label string) (int, error) {
	text, err := server.FourLetter(word)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), label); ok {
			return strconv.Atoi(strings.TrimSpace(n))
		}
	}
	return 0, fmt.Errorf("%s says %q", word, text)
}

// samples are all values of one metric.
type samples struct{ sum, max float64 }

func gather(registry *prometheus.Registry) (map[string]samples, error) {
	families, err := registry.Gather()
	if err != nil {
		return nil, err
	}
	all := map[string]samples{}
	for _, f := range families {
		s := samples{}
		for _, m := range f.GetMetric() {
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue()
			s.sum, s.max = s.sum+v, max(s.max, v)
		}
		all[f.GetName()] = s
	}
	return all, nil
}

// scaleSizes are how many shops, the million only in the long form.
func (r *run) scaleSizes() []int {
	if r.cmd.Short {
		return []int{2_000, 10_000}
	}
	return []int{10_000, 100_000, 1_000_000}
}

// measureScale shows how a cache grows: each size in a process and on a server
// of its own.
func (r *run) measureScale(ctx context.Context) error {
	t := &table{head: []string{"shops", "sessions", "fullest session, of its budget", "fill s", "shops/s", "bytes/shop, RSS", "Go", "native",
		"re-arm s", "watches/s", "connections for it", "read again", "room for half: kept", "watches then"}}
	for _, shops := range r.scaleSizes() {
		dir := filepath.Join(r.dir, fmt.Sprint("scale-", shops))
		var s scaleResult
		if err := runJSON(ctx, exec.Command(r.self, "scale", "--shops", fmt.Sprint(shops), "--dir", dir), &s); err != nil {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		n := float64(shops)
		r.progress("scale: %s shops, filled in %.1f s, re-armed in %.2f s", number(n, 0), s.FillSeconds, s.RearmSeconds)
		t.add(number(n, 0), fmt.Sprint(s.Sessions), number(100*s.FullestSession/s.Budget, 1)+" %",
			number(s.FillSeconds, 1), number(n/s.FillSeconds, 0),
			number(float64(s.Memory.RSS)/n, 0), number(float64(s.Memory.GoHeap)/n, 0), number(float64(s.Memory.Native)/n, 0),
			number(s.RearmSeconds, 2), number(n/s.RearmSeconds, 0), number(s.Reconnects, 0), number(s.Reread, 0),
			number(float64(s.Kept), 0), number(float64(s.KeptWatches), 0))
		if extra := s.Reconnects - float64(s.Sessions); extra != 0 {
			r.progress("scale: %.0f connections more than sessions", extra)
		}
	}
	r.report.section("Growth", "One process keeps all shops in memory, each under a watch; their server is killed and started again; "+
		"then a cache with room for half of them reads them all. Each size has a server of its own. "+
		"The budget is what the watches of a session may take in the one request that sets them again. "+
		"Re-arm is the time from when the restarted server takes sessions to when it holds all watches; "+
		"500 shops are then moved, and all of it is heard of. Watches are the server's own count (wchs).", t)
	return nil
}
