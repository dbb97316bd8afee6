package main

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func defaults(t *testing.T) cli {
	t.Helper()
	var c cli
	parser, err := kong.New(&c)
	if err == nil {
		_, err = parser.Parse(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestQueue holds the simulated queue against what is known of one: jobs that
// come at random and take the same time each wait rho/(2 mu (1-rho)) on average.
func TestQueue(t *testing.T) {
	c := defaults(t)
	c.Costs = costs{Apply: 1e-9, Read: 1000, RoundTrip: 0}
	in := c.installation
	in.Proxies, in.Voters, in.Shops, in.Cached, in.Cores = 1, 1, 100, 100, 1
	for _, rho := range []float64{0.3, 0.6, 0.8} {
		in.Changes = rho * 1000
		o := simulate(in, c.Costs, 400_000, rand.New(rand.NewPCG(1, 2)))
		if math.Abs(o.Server-rho) > 0.001 {
			t.Errorf("rho %v: utilisation %v", rho, o.Server)
		}
		// The median of an M/D/1 queue is below its mean, and above the service.
		mean := 1 + rho/(2*(1-rho))
		if o.P50 < 1 || o.P50 > mean || o.P99 < mean {
			t.Errorf("rho %v: p50 %v ms, p99 %v ms, mean %v ms", rho, o.P50, o.P99, mean)
		}
	}
	in.Changes = 1001
	if o := simulate(in, c.Costs, 1000, rand.New(rand.NewPCG(1, 2))); len(o.Breaks) == 0 || !math.IsNaN(o.P99) {
		t.Errorf("more work than a server can do: %+v", o)
	}
}

// TestSessions agrees with the measured limit of a session.
func TestSessions(t *testing.T) {
	c := defaults(t)
	in := c.installation
	in.Shops, in.Cached, in.PathBytes = 21_447, 21_447, 40
	if o := simulate(in, c.Costs, 10, rand.New(rand.NewPCG(1, 2))); o.Sessions != 1 {
		t.Errorf("%d sessions", o.Sessions)
	}
	in.Shops, in.Cached = 21_448, 21_448
	if o := simulate(in, c.Costs, 10, rand.New(rand.NewPCG(1, 2))); o.Sessions != 2 {
		t.Errorf("%d sessions", o.Sessions)
	}
}

// near reports whether a figure is what it should be, but for rounding.
func near(got, want float64) bool { return math.Abs(got-want) <= 1e-9*math.Abs(want) }

// TestByHand is one installation, calculated on paper: 100 proxies that all hold a
// million shops, 20 of them on each of five observers.
func TestByHand(t *testing.T) {
	in := installation{Proxies: 100, Shops: 1e6, Cached: 1e6, Changes: 1000, Voters: 3, Observers: 5, Cores: 8, Heap: 16, PathBytes: 40, Request: 1 << 20, Beat: 1, ClientMax: 10_000}
	c := costs{Read: 44, Event: 10, Sync: 44, Apply: 60, Propose: 15, Watch: 256, Znode: 500, Rearm: 1.24, RoundTrip: 500}
	o := simulate(in, c, 1000, rand.New(rand.NewPCG(1, 2)))
	for _, figure := range []struct {
		name      string
		got, want float64
	}{
		{"sessions: 1,000,000 paths at 44 bytes, 943,690 bytes each", float64(o.Sessions), 47},
		{"connections: 20 proxies", o.Connections, 20 * 47},
		{"watches: 20 proxies", o.Watches, 20e6},
		{"heap: watches and znodes", o.HeapGiB, (20e6*256 + 1e6*500) / (1 << 30)},
		{"reads: each change by each proxy", o.Reads, 100_000},
		{"server: writes, events and reads of 20 proxies, syncs of 940 sessions, in us of 8 processors", o.Server, (60_000 + 1000*20*54 + 940*44) / 8e6},
		{"leader: writes, seven proposals each, syncs of 4,700 sessions", o.Leader, (60_000 + 1000*7*15 + 4700*44) / 8e6},
		{"fill: 20 million reads", o.Fill, 20e6 * 44 / 8e6},
		{"re-arm: a server's watches by the four others", o.Rearm, 20e6 / 4 * 1.24 / 1e6},
	} {
		if !near(figure.got, figure.want) {
			t.Errorf("%s: %v, want %v", figure.name, figure.got, figure.want)
		}
	}
	if len(o.Breaks) > 0 {
		t.Errorf("gives way: %v", o.Breaks)
	}
}

// TestIdle: where nothing waits, a change takes its way and nothing else.
func TestIdle(t *testing.T) {
	in := defaults(t).installation
	in.Proxies, in.Voters, in.Shops, in.Cached, in.Cores, in.Changes, in.Beat = 1, 1, 1000, 1000, 1, 0.01, 1e9
	c := costs{Apply: 100, Event: 20, Read: 300, RoundTrip: 1000}
	o := simulate(in, c, 1000, rand.New(rand.NewPCG(1, 2)))
	want := 0.1 + 0.02 + 1 + 0.3 + 0.5 // apply, event, to the proxy and back, read, to the proxy
	if !near(o.P50, want) || !near(o.P99, want) {
		t.Errorf("p50 %v ms, p99 %v ms, want %v", o.P50, o.P99, want)
	}
	// Syncs that take a fifth of the processor leave four fifths.
	in.Beat, c.Sync = 1, 200_000
	o = simulate(in, c, 1000, rand.New(rand.NewPCG(1, 2)))
	if want = (0.1+0.02+0.3)/0.8 + 1.5; !near(o.P50, want) {
		t.Errorf("beside syncs: p50 %v ms, want %v", o.P50, want)
	}
	// Of 100 proxies a change concerns those that hold the shop, 50 in the median.
	in.Beat, in.Proxies, in.Cached = 1e9, 100, 500
	o = simulate(in, c, 1000, rand.New(rand.NewPCG(1, 2)))
	if want = 0.1 + 50*(0.02+0.3) + 1.5; math.Abs(o.P50-want) > 0.05*want {
		t.Errorf("half of the shops in each proxy: p50 %v ms, want %v", o.P50, want)
	}
}

// TestWhatHelps holds the model against what docs/scaling.md advises.
func TestWhatHelps(t *testing.T) {
	c := defaults(t).Costs
	base := defaults(t).installation
	base.Proxies, base.Shops, base.Cached, base.Changes = 1000, 1e6, 1e6, 100
	of := func(change func(*installation)) outcome {
		in := base
		change(&in)
		return simulate(in, c, 1000, rand.New(rand.NewPCG(1, 2)))
	}
	before := of(func(*installation) {})
	observers := of(func(in *installation) { in.Observers = 20 })
	if observers.Watches > before.Watches/6 || observers.HeapGiB > before.HeapGiB/6 || observers.Rearm > before.Rearm/6 {
		t.Errorf("20 observers instead of 3 voters: %+v, before %+v", observers, before)
	}
	// Every sync goes through the leader, wherever its session is.
	syncs := 1000 * float64(before.Sessions) * c.Sync / 1e6 / base.Cores
	if observers.Leader < syncs || observers.Leader > before.Leader {
		t.Errorf("the leader is busy %v with observers and %v without, with syncs alone %v", observers.Leader, before.Leader, syncs)
	}
	request := of(func(in *installation) { in.Observers, in.Request = 20, 16<<20 })
	if request.Sessions > observers.Sessions/15 || request.Leader > observers.Leader/5 || request.Watches != observers.Watches {
		t.Errorf("a request of 16 MiB: %+v, before %+v", request, observers)
	}
	routed := of(func(in *installation) { in.Observers, in.Cached = 20, 1e5 })
	if !near(routed.Reads, observers.Reads/10) || !near(routed.Watches, observers.Watches/10) || routed.Sessions > observers.Sessions/9 {
		t.Errorf("a tenth of the shops in each proxy: %+v, before %+v", routed, observers)
	}
}

// TestGivesWay: each limit is named if it is passed, and only then.
func TestGivesWay(t *testing.T) {
	c := costs{Read: 1, Watch: 1 << 10}
	fits := installation{Proxies: 1, Shops: 1 << 20, Cached: 1 << 20, Changes: 1, Voters: 1, Cores: 1, Heap: 1, PathBytes: 36, Request: 1 << 30, Beat: 1, ClientMax: 1}
	for _, limit := range []struct {
		want   string // none: it fits
		change func(*installation)
	}{
		{"", func(*installation) {}},
		{"heap of 1 GiB", func(in *installation) { in.Heap = 0.99 }},
		{"1 connections a server", func(in *installation) { in.ClientMax = 0 }},
		{"servers 1.0 times too slow", func(in *installation) { in.Observers, in.Changes = 1, 1e6 }},
		{"leader 1.0 times too slow", func(in *installation) { in.Changes = 1e6 }},
		{"257 sessions a proxy", func(in *installation) { in.Request, in.ClientMax = 181_809, 1<<20 }}, // 4,090 paths each
		{"", func(in *installation) { in.Request, in.ClientMax = 182_253, 1<<20 }},                     // 4,100: 256 sessions
	} {
		in := fits
		limit.change(&in)
		o := simulate(in, c, 10, rand.New(rand.NewPCG(1, 2)))
		named := strings.Join(o.Breaks, "; ")
		if limit.want == "" && named != "" || !strings.Contains(named, limit.want) {
			t.Errorf("want %q, gives way: %q", limit.want, named)
		}
		if n := len(o.Breaks); n > 1 && !strings.Contains(limit.want, "leader") {
			t.Errorf("want %q alone, gives way: %q", limit.want, named)
		}
	}
}

func TestBinomial(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		n int
		p float64
	}{{50, 0.3}, {1000, 0.01}, {5000, 0.4}, {100, 0}, {100, 1}} {
		const draws = 20_000
		var sum, squares float64
		for range draws {
			k := float64(binomial(c.n, c.p, random))
			if k < 0 || k > float64(c.n) {
				t.Fatalf("%v of %d", k, c.n)
			}
			sum += k
			squares += k * k
		}
		mean, variance := sum/draws, squares/draws-sum/draws*sum/draws
		wantMean, wantVariance := float64(c.n)*c.p, float64(c.n)*c.p*(1-c.p)
		if math.Abs(mean-wantMean) > 5*math.Sqrt(wantVariance/draws) || math.Abs(variance-wantVariance) > 0.06*wantVariance {
			t.Errorf("n %d, p %v: mean %v, variance %v, want %v and %v", c.n, c.p, mean, variance, wantMean, wantVariance)
		}
	}
}

// TestTable: each row of the table has a figure for each column.
func TestTable(t *testing.T) {
	c := defaults(t)
	rows := table(c.installation)
	var b bytes.Buffer
	write(&b, rows, c.Costs, 100)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != len(rows)+2 {
		t.Fatalf("%d lines for %d installations", len(lines), len(rows))
	}
	columns := strings.Count(lines[0], "|")
	for _, line := range lines {
		if strings.Count(line, "|") != columns || strings.Contains(line, "NaN") || strings.Contains(line, "Inf") || strings.Contains(line, "%!") {
			t.Errorf("%s", line)
		}
	}
}
