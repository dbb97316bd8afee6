package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"

	"magellan/cgo/jemalloc"
	"magellan/internal/discovery"
	"magellan/internal/shops"
)

// holdCmd keeps all shops in memory and reports a holdResult.
type holdCmd struct {
	Kind      string `arg:"" enum:"cache,map" help:"cache: magellan's internal/cache. map: a Go map from the name to the body of the answer."`
	Shops     int    `required:"" help:"How many."`
	Zookeeper string `help:"host:port, for cache."`
}

// holdResult is the memory of a process, in bytes, after a collection and with
// all free pages given back.
type holdResult struct {
	RSS    int64
	GoHeap int64 // live
	Native int64 // live: what C has allocated, libzookeeper's watches above all
}

// Run fills the memory and measures it.
func (h *holdCmd) Run(ctx context.Context) error {
	hold := h.holdMap
	if h.Kind == "cache" {
		hold = h.holdCache
	}
	keep, err := hold(ctx)
	if err != nil {
		return err
	}
	result, err := memory()
	if err != nil {
		return err
	}
	runtime.KeepAlive(keep)
	return json.NewEncoder(os.Stdout).Encode(result)
}

// holdMap makes no garbage, which would leave holes.
func (h *holdCmd) holdMap(context.Context) (any, error) {
	m := map[string][]byte{}
	var name, body []byte
	for i := range h.Shops {
		name = appendShopName(name[:0], i)
		body = appendShopBody(body[:0], i)
		m[string(name)] = append(make([]byte, 0, len(body)), body...)
	}
	return m, nil
}

// appendShopBody appends the answer to a GET of the i-th shop.
func appendShopBody(b []byte, i int) []byte {
	b = append(b, `{"shop":"`...)
	b = appendShopName(b, i)
	return fmt.Appendf(b, `","datacenter":%q,"region":%q}`+"\n", datacenterName(i%datacenterCount), regionName(i%regionCount))
}

// holdCache is not closed: the process ends, and all of it with it.
func (h *holdCmd) holdCache(ctx context.Context) (any, error) {
	c, err := openCache(ctx, h.Zookeeper, h.Shops)
	if err != nil {
		return nil, err
	}
	if _, err := h.readAll(ctx, c); err != nil {
		return nil, err
	}
	hits, err := h.readAll(ctx, c)
	if err == nil && hits != h.Shops {
		err = fmt.Errorf("the cache has kept %d of %d shops", hits, h.Shops)
	}
	return c, err
}

// readAll reads all shops and returns how many were in memory.
func (h *holdCmd) readAll(ctx context.Context, c *shopCache) (hits int, err error) {
	const perCall = 5000
	names, reads := make([]string, 0, perCall), make([]shops.ShopRead, perCall)
	for i := range h.Shops {
		names = append(names, shopName(i))
		if len(names) < perCall && i < h.Shops-1 {
			continue
		}
		if err := readShops(ctx, c, names, reads); err != nil {
			return hits, err
		}
		for _, r := range reads[:len(names)] {
			if r.Meta.Cache == discovery.Hit {
				hits++
			}
		}
		names = names[:0]
	}
	return hits, nil
}

// memory collects all garbage, gives free pages back to the system and measures
// what is left.
func memory() (holdResult, error) {
	for range 2 { // what finalizers let go of is found by the second collection
		debug.FreeOSMemory()
	}
	// 4096 stands for all arenas (MALLCTL_ARENAS_ALL).
	if err := jemalloc.Call("arena.4096.purge"); err != nil {
		return holdResult{}, err
	}
	native, err := jemalloc.ReadStats()
	if err != nil {
		return holdResult{}, err
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	rss, err := rssOf(os.Getpid())
	return holdResult{RSS: rss, GoHeap: int64(m.HeapAlloc), Native: int64(native.Allocated)}, err
}

// measureMemory has both keep all shops, each in a process of its own.
func (r *run) measureMemory(ctx context.Context) error {
	kinds := []struct {
		name, kind string
		results    []holdResult
	}{
		{name: "magellan, internal/cache", kind: "cache"},
		{name: "Go map, name to body", kind: "map"},
	}
	order := []int{0, 1}
	for round := range r.memoryRounds {
		for _, i := range rotated(order, round) {
			var result holdResult
			cmd := exec.Command(r.self, "hold", kinds[i].kind, "--shops", fmt.Sprint(r.shops), "--zookeeper", r.zookeeper.Addr())
			if err := runJSON(ctx, cmd, &result); err != nil {
				return err
			}
			r.progress("memory round %d: %-40s RSS %s MiB", round+1, kinds[i].name, mebibytes(float64(result.RSS)))
			kinds[i].results = append(kinds[i].results, result)
		}
	}

	rss := func(i int) []float64 {
		return column(kinds[i].results, func(r holdResult) float64 { return float64(r.RSS) })
	}
	// What magellan would take without the watches that keep it true.
	withoutNative := func(i int) []float64 {
		return column(kinds[i].results, func(r holdResult) float64 { return float64(r.RSS - r.Native) })
	}
	t := &table{head: []string{"process", "RSS MiB", "Go heap MiB", "native MiB", "it : the map, RSS", "it : the map, RSS without native"}}
	for i, k := range kinds {
		t.add(k.name, mebibytes(median(rss(i))),
			mebibytes(median(column(k.results, func(r holdResult) float64 { return float64(r.GoHeap) }))),
			mebibytes(median(column(k.results, func(r holdResult) float64 { return float64(r.Native) }))),
			number(ratio(rss(i), rss(1)), 2), number(ratio(withoutNative(i), withoutNative(1)), 2))
	}
	r.report.section("Memory", fmt.Sprintf("%s shops in memory, names of %d bytes, bodies of %d bytes; "+
		"after a garbage collection, with all free pages given back to the system (%d rounds). "+
		"Go heap and native are what is live; native is what C has allocated, above all libzookeeper's watches and the sessions' threads, which a map that nobody keeps true does not need.",
		number(float64(r.shops), 0), len(shopName(0)), len(appendShopBody(nil, 0)), r.memoryRounds), t)
	r.report.goal(goal{what: fmt.Sprintf("memory of %s shops: magellan's RSS over the map's", number(float64(r.shops), 0)),
		got: ratio(rss(0), rss(1)), wanted: 1.35, atMost: true, decimals: 2})
	return nil
}
