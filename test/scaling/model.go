package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// costs are what things cost a server. Times are microseconds of a processor.
type costs struct {
	Read      float64 `help:"A get that sets a watch (measured: docs/benchmarks.md)." default:"44"`
	Event     float64 `help:"Sending one watch event (assumed)." default:"10"`
	Sync      float64 `help:"A sync: the server's part; the leader pays as much once more (assumed: a read)." default:"44"`
	Apply     float64 `help:"A write, on each server (assumed)." default:"60"`
	Propose   float64 `help:"A write, on the leader, for each other server (assumed)." default:"15"`
	Watch     float64 `help:"Bytes of a watch on a server (measured)." default:"256"`
	Znode     float64 `help:"Bytes of a shop's znode in a server's heap (assumed)." default:"500"`
	Rearm     float64 `help:"Setting one watch again after a reconnect (measured: 500,000 in 618 ms)." default:"1.24"`
	RoundTrip float64 `help:"Between a proxy and its server, microseconds (assumed)." default:"500"`
}

// installation is one row of the table.
type installation struct {
	Proxies   int     `help:"Proxies." default:"10"`
	Shops     float64 `help:"Shops in ZooKeeper." default:"1e6"`
	Cached    float64 `help:"Shops that each proxy holds at most." default:"1e6"`
	Changes   float64 `help:"Changes of shops per second." default:"100"`
	Voters    int     `help:"Servers that vote." default:"3"`
	Observers int     `help:"Observers." default:"0"`
	Cores     float64 `help:"Processors of each server." default:"8"`
	Heap      float64 `help:"GiB of heap of each server." default:"16"`
	PathBytes float64 `help:"Bytes of a shop's path." default:"40"`
	Request   float64 `help:"jute.maxbuffer of servers and clients, bytes." default:"1048575"`
	Beat      float64 `help:"Seconds between a session's syncs." default:"1"`
	ClientMax int     `help:"Connections that a server takes (maxCnxns, file descriptors)." default:"10000"`
}

// outcome is what comes of an installation.
type outcome struct {
	Sessions    int     // of each proxy
	Connections float64 // of the fullest server
	Watches     float64 // of the fullest server
	HeapGiB     float64 // of the fullest server
	Reads       float64 // per second, of all proxies together
	Server      float64 // utilisation of a server that serves proxies
	Leader      float64 // utilisation of the leader
	Fill        float64 // seconds until all proxies have read all they hold, if they start at once
	Rearm       float64 // seconds until the watches of a server that died are set elsewhere
	P50, P99    float64 // milliseconds from the commit to the last proxy that holds the shop; NaN where there is no end
	Breaks      []string
}

// margin is the part of a request that watches may fill.
const margin = 0.9

// simulate finds what comes of an installation.
func simulate(in installation, c costs, changes int, random *rand.Rand) outcome {
	var o outcome
	held := min(in.Cached, in.Shops)
	share := held / in.Shops // of the shops, in each proxy
	perSession := math.Floor((margin*in.Request - 28) / (in.PathBytes + 4))
	o.Sessions = int(math.Ceil(held / perSession))

	// Observers take all proxies where there are any; the voters are spared.
	serving := in.Observers
	if serving == 0 {
		serving = in.Voters
	}
	proxies := math.Ceil(float64(in.Proxies) / float64(serving))
	o.Connections = proxies * float64(o.Sessions)
	o.Watches = proxies * held
	o.HeapGiB = (o.Watches*c.Watch + in.Shops*c.Znode) / (1 << 30)

	perServer := in.Changes * share * proxies // events, and as many reads
	o.Reads = in.Changes * share * float64(in.Proxies)
	syncs := float64(in.Proxies*o.Sessions) / in.Beat
	work := in.Changes*c.Apply + perServer*(c.Event+c.Read) + o.Connections/in.Beat*c.Sync
	o.Server = work / 1e6 / in.Cores
	leader := in.Changes*(c.Apply+c.Propose*float64(in.Voters-1+in.Observers)) + syncs*c.Sync
	if in.Observers == 0 {
		leader += work - in.Changes*c.Apply
	}
	o.Leader = leader / 1e6 / in.Cores
	o.Fill = proxies * held * c.Read / 1e6 / in.Cores
	if serving > 1 {
		// The others take its proxies; each sets what comes to it.
		o.Rearm = o.Watches / float64(serving-1) * c.Rearm / 1e6
	} else {
		o.Rearm = o.Watches * c.Rearm / 1e6
	}

	breaks := func(broken bool, format string, args ...any) {
		if broken {
			o.Breaks = append(o.Breaks, fmt.Sprintf(format, args...))
		}
	}
	breaks(o.Leader >= 1, "leader %.1f times too slow", o.Leader)
	breaks(o.Server >= 1, "servers %.1f times too slow", o.Server)
	breaks(o.HeapGiB > in.Heap, "heap of %.0f GiB", o.HeapGiB)
	breaks(o.Connections > float64(in.ClientMax), "%.0f connections a server", o.Connections)
	breaks(o.Sessions > 256, "%d sessions a proxy", o.Sessions)
	o.P50, o.P99 = math.NaN(), math.NaN()
	if o.Server < 1 && o.Leader < 1 && in.Changes > 0 {
		o.P50, o.P99 = propagation(in, c, share, int(proxies), o, changes, random)
	}
	return o
}

// propagation simulates one server: changes come at random, each sends an event
// to the proxies that hold the shop, and they read, a round trip later. The
// server is a queue that works at the speed of its processors, less what the
// heartbeats take.
func propagation(in installation, c costs, share float64, proxies int, o outcome, changes int, random *rand.Rand) (p50, p99 float64) {
	type job struct{ at, work float64 }
	speed := in.Cores - o.Connections/in.Beat*c.Sync/1e6
	jobs := make([]job, 0, 2*changes)
	reads := make([]int, 0, changes)
	at := 0.0
	for range changes {
		at += random.ExpFloat64() * 1e6 / in.Changes
		n := binomial(proxies, share, random)
		jobs = append(jobs, job{at, c.Apply + float64(n)*c.Event})
		reads = append(reads, n)
	}
	// The queue is first come, first served, so one pass in the order of arrival
	// is all there is to it. Reads arrive a round trip after their event is out.
	free := 0.0
	type pending struct{ at, began, work float64 }
	var waiting []pending
	var took []float64
	serve := func(at, work float64) float64 {
		free = max(free, at) + work/speed
		return free
	}
	next := 0
	flush := func(until float64) {
		for next < len(waiting) && waiting[next].at <= until {
			p := waiting[next]
			took = append(took, (serve(p.at, p.work)-p.began+c.RoundTrip/2)/1000)
			next++
		}
	}
	for i, j := range jobs {
		flush(j.at)
		out := serve(j.at, j.work)
		if n := reads[i]; n > 0 {
			waiting = append(waiting, pending{out + c.RoundTrip, j.at, float64(n) * c.Read})
		}
	}
	flush(math.Inf(1))
	if len(took) == 0 {
		return math.NaN(), math.NaN()
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100]
}

// binomial is how many of n proxies hold a shop.
func binomial(n int, p float64, random *rand.Rand) (k int) {
	if p >= 1 {
		return n
	}
	if mean := float64(n) * p; n > 1000 { // near enough, and quick
		return max(0, min(n, int(math.Round(mean+random.NormFloat64()*math.Sqrt(mean*(1-p))))))
	}
	for range n {
		if random.Float64() < p {
			k++
		}
	}
	return k
}
