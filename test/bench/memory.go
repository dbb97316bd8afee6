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

// holdCmd keeps all shops, or all services, in memory and reports a holdResult.
type holdCmd struct {
	Kind      string `arg:"" enum:"cache,map,services,services-map" help:"cache: magellan's internal/cache. map: a Go map from the name to the body of the answer. services: internal/cache and internal/services. services-map: a Go map from the name to the decoded instances."`
	Shops     int    `help:"How many."`
	Zookeeper string `help:"host:port, for cache and services."`
	fleet
}

// holdResult is the memory of a process, in bytes, after a collection and with
// all free pages given back.
type holdResult struct {
	RSS    int64
	GoHeap int64 // live
	Native int64 // live: what C has allocated, libzookeeper's watches above all
}

func (r holdResult) minus(o holdResult) holdResult {
	return holdResult{r.RSS - o.RSS, r.GoHeap - o.GoHeap, r.Native - o.Native}
}

// Run fills the memory and measures it.
func (h *holdCmd) Run(ctx context.Context) error {
	hold := map[string]func(context.Context) (any, error){
		"cache": h.holdCache, "map": h.holdMap, "services": h.holdServices, "services-map": h.holdServicesMap,
	}
	keep, err := hold[h.Kind](ctx)
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

// holder is one of the processes whose memory is compared.
type holder struct {
	name    string
	args    []string // of hold
	results []holdResult
}

func (h holder) rss() []float64 {
	return column(h.results, func(r holdResult) float64 { return float64(r.RSS) })
}

// withoutNative is what magellan would take without the watches that keep it true.
func (h holder) withoutNative() []float64 {
	return column(h.results, func(r holdResult) float64 { return float64(r.RSS - r.Native) })
}

// holdInTurn starts each of them in each round.
func (r *run) holdInTurn(ctx context.Context, holders []holder) error {
	order := make([]int, len(holders))
	for i := range order {
		order[i] = i
	}
	for round := range r.memoryRounds {
		for _, i := range rotated(order, round) {
			var result holdResult
			if err := runJSON(ctx, exec.Command(r.self, append([]string{"hold"}, holders[i].args...)...), &result); err != nil {
				return err
			}
			r.progress("memory round %d: %-40s RSS %s MiB", round+1, holders[i].name, mebibytes(float64(result.RSS)))
			holders[i].results = append(holders[i].results, result)
		}
	}
	return nil
}

// memoryTable compares each with the last, which is the map.
func memoryTable(holders []holder) *table {
	t := &table{head: []string{"process", "RSS MiB", "Go heap MiB", "native MiB", "it : the map, RSS", "it : the map, RSS without native"}}
	last := holders[len(holders)-1]
	for _, h := range holders {
		t.add(h.name, mebibytes(median(h.rss())),
			mebibytes(median(column(h.results, func(r holdResult) float64 { return float64(r.GoHeap) }))),
			mebibytes(median(column(h.results, func(r holdResult) float64 { return float64(r.Native) }))),
			number(ratio(h.rss(), last.rss()), 2), number(ratio(h.withoutNative(), last.withoutNative()), 2))
	}
	return t
}

// measureMemory has both keep all shops, each in a process of its own.
func (r *run) measureMemory(ctx context.Context) error {
	shops := fmt.Sprint(r.shops)
	holders := []holder{
		{name: "magellan, internal/cache", args: []string{"cache", "--shops", shops, "--zookeeper", r.zookeeper.Addr()}},
		{name: "Go map, name to body", args: []string{"map", "--shops", shops}},
	}
	if err := r.holdInTurn(ctx, holders); err != nil {
		return err
	}
	r.report.section("Memory", fmt.Sprintf("%s shops in memory, names of %d bytes, bodies of %d bytes; "+
		"after a garbage collection, with all free pages given back to the system (%d rounds). "+
		"Go heap and native are what is live; native is what C has allocated, above all libzookeeper's watches and the sessions' threads, which a map that nobody keeps true does not need.",
		number(float64(r.shops), 0), len(shopName(0)), len(appendShopBody(nil, 0)), r.memoryRounds), memoryTable(holders))
	r.report.goal(goal{what: fmt.Sprintf("memory of %s shops: magellan's RSS over the map's", number(float64(r.shops), 0)),
		got: ratio(holders[0].rss(), holders[1].rss()), wanted: 1.35, atMost: true, decimals: 2})
	return nil
}
