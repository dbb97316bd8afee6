package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"sync/atomic"
	"time"

	gozookeeper "github.com/go-zookeeper/zk"

	"magellan/internal/cache"
	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
	"magellan/test/bench/client"
)

// fillInFlight is how many requests the C program has in flight, and the cache
// on each of its sessions.
const fillInFlight = 1000

// fillCmd reads and watches each znode of a list, or of a mount, once, as fill.c does,
// and reports a fillResult.
type fillCmd struct {
	Kind      string `arg:"" enum:"cache,services,go-zookeeper" help:"cache: magellan's internal/cache. services: the same for services. go-zookeeper: go-zookeeper/zk, 64 goroutines."`
	Zookeeper string `required:"" help:"host:port."`
	Znodes    string `help:"File with a path in each line, but for services."`
	fleet
}

// fillResult is that of a fill client, and what it has cost the server.
type fillResult struct {
	client.Result
	serverCPU time.Duration
}

func (r fillResult) perSecond() float64 { return float64(r.Reads) / r.Seconds }

func (r fillResult) cpuPerRead() float64 { return r.CPUSeconds * 1e6 / float64(r.Reads) }

func (r fillResult) serverCPUPerRead() float64 { return perRequest(r.serverCPU, r.Reads) }

// Run fills.
func (f *fillCmd) Run(ctx context.Context) error {
	result, err := f.fill(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func (f *fillCmd) fill(ctx context.Context) (client.Result, error) {
	if f.Kind == "services" {
		return fillServices(ctx, f.Zookeeper, f.fleet)
	}
	paths, err := client.Paths(f.Znodes)
	if err != nil {
		return client.Result{}, err
	}
	if f.Kind == "go-zookeeper" {
		return fillGoZookeeper(ctx, f.Zookeeper, paths)
	}
	return fillCache(ctx, f.Zookeeper, paths)
}

// cacheBytes is room in magellan's cache for a number of shops: what it counts
// for one with a name as long as ours, and some more.
func cacheBytes(shops int) int64 { return 700 * int64(shops) }

// shopCache is magellan's cache of shops.
type shopCache struct {
	*cache.Cache
	shops.Mirrors
}

// openCache opens magellan's cache with room for a number of shops.
func openCache(ctx context.Context, addr string, shops int) (*shopCache, error) {
	return startCache(ctx, cache.Config{
		ZooKeeper: zk.Config{Servers: []string{addr}, SessionTimeout: 30 * time.Second},
		MaxBytes:  cacheBytes(shops),
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
}

// startCache starts a cache as magellan serve has it, and waits until it is ready.
func startCache(ctx context.Context, cfg cache.Config) (*shopCache, error) {
	cfg.Root, cfg.InFlight = layout.Root, fillInFlight
	c, err := cache.New(cfg)
	if err != nil {
		return nil, err
	}
	mirrors := shops.Mirrors{
		Homes:      cache.AddKeyed(c, layout.Homes()),
		Topologies: cache.AddView(c, layout.Topologies()),
		Blocklists: cache.AddView(c, layout.Blocklists()),
		Watcher:    c,
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	if err := c.WaitReady(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return &shopCache{c, mirrors}, nil
}

// fillCache asks for many shops at a time, as POST /v1/shops/lookup does.
func fillCache(ctx context.Context, addr string, paths []string) (client.Result, error) {
	const perCall, callers = 5000, 4
	names := make([]string, len(paths))
	for i, p := range paths {
		var ok bool
		if names[i], ok = layout.ShopName(p); !ok {
			return client.Result{}, fmt.Errorf("%s is not a shop's znode", p)
		}
	}
	c, err := openCache(ctx, addr, len(names))
	if err != nil {
		return client.Result{}, err
	}
	defer c.Close()
	var next atomic.Int64
	return client.Time(callers, func(r *client.Result) error {
		reads := make([]shops.ShopRead, perCall)
		for {
			first := int(next.Add(perCall)) - perCall
			if first >= len(names) {
				return nil
			}
			batch := names[first:min(first+perCall, len(names))]
			if err := readShops(ctx, c, batch, reads); err != nil {
				return err
			}
			r.Reads += int64(len(batch))
			for i := range batch {
				r.Bytes += int64(len(`{"datacenter":""}`) + len(reads[i].Value.Datacenter))
			}
		}
	})
}

// readShops reads shops that all must exist.
func readShops(ctx context.Context, c *shopCache, names []string, reads []shops.ShopRead) error {
	c.Shops(ctx, names, discovery.ReadOptions{}, reads)
	for i, name := range names {
		if err := reads[i].Err; err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// fillGoZookeeper has as many reads in flight as goroutines.
func fillGoZookeeper(_ context.Context, addr string, paths []string) (client.Result, error) {
	conn, events, err := gozookeeper.Connect([]string{addr}, 30*time.Second, gozookeeper.WithLogger(log.New(io.Discard, "", 0)))
	if err != nil {
		return client.Result{}, err
	}
	defer conn.Close()
	for e := range events {
		if e.State == gozookeeper.StateHasSession {
			break
		}
	}
	return client.Fill(paths, func(path string) (int, error) {
		data, _, _, err := conn.GetW(path)
		return len(data), err
	})
}

// fillClient is one of the clients that fill themselves.
type fillClient struct {
	name    string
	command func() *exec.Cmd
	results []fillResult
}

// fillInTurn has each client read that many znodes in each round.
func (r *run) fillInTurn(ctx context.Context, clients []fillClient, znodes int) error {
	order := make([]int, len(clients))
	for i := range order {
		order[i] = i
	}
	for round := -1; round < r.fillRounds; round++ { // the first is for the server's JIT compiler
		for _, i := range rotated(order, round+len(order)) {
			var result fillResult
			before, err := cpuOf(r.zookeeper.Pid())
			if err != nil {
				return err
			}
			if err := runJSON(ctx, clients[i].command(), &result); err != nil {
				return err
			}
			after, err := cpuOf(r.zookeeper.Pid())
			if err != nil {
				return err
			}
			result.serverCPU = after - before
			if result.Reads != int64(znodes) {
				return fmt.Errorf("%s has read %d of %d znodes", clients[i].name, result.Reads, znodes)
			}
			r.progress("fill round %d: %-40s %8.0f reads/s, %5.1f us CPU a read", round+1, clients[i].name, result.perSecond(), result.cpuPerRead())
			if round >= 0 {
				clients[i].results = append(clients[i].results, result)
			}
		}
	}
	return nil
}

// speeds and cpus are the rounds of a client.
func (c fillClient) speeds() []float64 { return column(c.results, fillResult.perSecond) }
func (c fillClient) cpus() []float64   { return column(c.results, fillResult.cpuPerRead) }

// fillTable has magellan's client first.
func fillTable(clients []fillClient) *table {
	t := &table{head: []string{"client", "reads/s", "client CPU us/read", "server CPU us/read", "magellan : it, reads/s", "magellan : it, CPU"}}
	for _, c := range clients {
		t.add(c.name, number(median(c.speeds()), 0), number(median(c.cpus()), 1),
			number(median(column(c.results, fillResult.serverCPUPerRead)), 1),
			number(ratio(clients[0].speeds(), c.speeds()), 2), number(ratio(clients[0].cpus(), c.cpus()), 2))
	}
	return t
}

// measureFill has each client fill itself from the same server in turn.
func (r *run) measureFill(ctx context.Context) error {
	addr := r.zookeeper.Addr()
	clients := []fillClient{
		{name: "magellan, internal/cache", command: func() *exec.Cmd {
			return exec.Command(r.self, "fill", "cache", "--zookeeper", addr, "--znodes", r.znodes)
		}},
		{name: fmt.Sprintf("C program, libzookeeper, %d in flight", fillInFlight), command: func() *exec.Cmd {
			return exec.Command(r.cmd.FillC, addr, r.znodes, fmt.Sprint(fillInFlight))
		}},
		{name: fmt.Sprintf("go-zookeeper/zk, %d goroutines", client.Goroutines), command: func() *exec.Cmd {
			return exec.Command(r.self, "fill", "go-zookeeper", "--zookeeper", addr, "--znodes", r.znodes)
		}},
		{name: fmt.Sprintf("gozk, %d goroutines", client.Goroutines), command: func() *exec.Cmd {
			return exec.Command(r.cmd.Gozk, "fill", "--zookeeper", addr, "--znodes", r.znodes)
		}},
	}
	const ours = 3
	if r.cmd.Original != "" {
		clients = append(clients, fillClient{name: fmt.Sprintf("the original gozk, %d goroutines", client.Goroutines), command: func() *exec.Cmd {
			return exec.Command(r.cmd.Original, "fill", "--zookeeper", addr, "--znodes", r.znodes)
		}})
	}
	if err := r.fillInTurn(ctx, clients, r.hot); err != nil {
		return err
	}
	r.report.section("Cold fill", fmt.Sprintf("%s znodes, each read and watched once, by a client that has just connected. "+
		"magellan is its cache package with all above ZooKeeper and below HTTP: it decodes, keeps and watches each shop, over as many sessions as its watches need. "+
		"The others throw away what they read. %d rounds.", number(float64(r.hot), 0), r.fillRounds), fillTable(clients))
	r.report.goal(goal{what: "cold fill: magellan's reads/s over the C program's", got: ratio(clients[0].speeds(), clients[1].speeds()), wanted: 1, decimals: 2})
	r.report.goal(goal{what: "cold fill: magellan's CPU a read over the C program's", got: ratio(clients[0].cpus(), clients[1].cpus()), wanted: 1.2, atMost: true, decimals: 2})
	if original := ours + 1; original < len(clients) {
		r.report.goal(goal{what: "gozk's reads/s over the original's", got: ratio(clients[ours].speeds(), clients[original].speeds()), wanted: 1.5, decimals: 2})
		r.report.goal(goal{what: "gozk's CPU a read over the original's", got: ratio(clients[ours].cpus(), clients[original].cpus()), wanted: 0.6, atMost: true, decimals: 2})
	}
	return nil
}
