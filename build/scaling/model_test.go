package main

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
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

// TestDocument: docs/scaling.md has the table that this program prints.
func TestDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	c := defaults(t)
	var b bytes.Buffer
	write(&b, table(c.installation), c.Costs, c.Events)
	if !strings.Contains(string(doc), b.String()) {
		t.Errorf("docs/scaling.md does not have this table; go run ./build/scaling prints it:\n%s", &b)
	}
}
