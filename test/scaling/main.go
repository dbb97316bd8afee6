package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

// seed makes all runs the same.
const seed = 42

type cli struct {
	installation `embed:""`
	Costs        costs `embed:"" prefix:"cost-"`
	One          bool  `help:"Only the installation that the flags describe, instead of the table."`
	Events       int   `help:"Changes to simulate for each." default:"100000"`
}

func main() {
	var c cli
	kong.Parse(&c, kong.Name("scaling"), kong.Description("Says how far an installation of magellan goes, and what gives way first."))
	rows := []installation{c.installation}
	if !c.One {
		rows = table(c.installation)
	}
	write(os.Stdout, rows, c.Costs, c.Events)
}

// table is the installations of docs/scaling.md: each is the one before with one
// thing more, up to 1,000 proxies and 100 million shops.
func table(base installation) []installation {
	with := func(change func(*installation)) installation {
		in := base
		change(&in)
		return in
	}
	var rows []installation
	for _, proxies := range []int{10, 100, 1000} {
		rows = append(rows, with(func(in *installation) { in.Proxies, in.Shops, in.Cached, in.Changes = proxies, 1e5, 1e5, 100 }))
	}
	for _, proxies := range []int{10, 100, 1000} {
		rows = append(rows, with(func(in *installation) { in.Proxies, in.Shops, in.Cached, in.Changes = proxies, 1e6, 1e6, 100 }))
	}
	rows = append(rows,
		with(func(in *installation) { in.Proxies, in.Changes = 100, 1000 }),
		with(func(in *installation) { in.Proxies, in.Changes, in.Observers = 100, 1000, 5 }),
		with(func(in *installation) { in.Proxies, in.Changes, in.Observers = 1000, 100, 20 }),
		with(func(in *installation) {
			in.Proxies, in.Changes, in.Observers, in.Request = 1000, 100, 20, 16<<20
		}),
		with(func(in *installation) {
			in.Proxies, in.Changes, in.Observers, in.Request = 1000, 1000, 20, 16<<20
		}),
		with(func(in *installation) {
			in.Proxies, in.Changes, in.Observers, in.Cached = 1000, 1000, 20, 1e5
		}),
		with(func(in *installation) {
			in.Proxies, in.Shops, in.Changes, in.Observers, in.Cached = 100, 1e7, 1000, 5, 1e6
		}),
		with(func(in *installation) {
			in.Proxies, in.Shops, in.Changes, in.Observers, in.Cached = 1000, 1e7, 1000, 20, 1e5
		}),
		with(func(in *installation) {
			in.Proxies, in.Shops, in.Changes, in.Observers, in.Cached, in.Heap = 1000, 1e8, 1000, 20, 1e5, 16
		}),
		with(func(in *installation) {
			in.Proxies, in.Shops, in.Changes, in.Observers, in.Cached, in.Heap = 1000, 1e8, 10000, 20, 1e5, 64
		}),
	)
	return rows
}

func write(w io.Writer, rows []installation, c costs, events int) {
	fmt.Fprintln(w, "| proxies | shops | held by each | changes/s | servers | maxbuffer MiB | sessions each | connections a server | watches a server | heap GiB | reads/s | server busy | leader busy | last proxy, p50 ms | p99 ms | re-arm s | fill s | gives way |")
	fmt.Fprintln(w, "|"+strings.Repeat(" ---: |", 17)+" :--- |")
	for _, in := range rows {
		o := simulate(in, c, events, rand.New(rand.NewPCG(seed, seed)))
		breaks := strings.Join(o.Breaks, "; ")
		if breaks == "" {
			breaks = "no"
		}
		fmt.Fprintf(w, "| %d | %s | %s | %.0f | %d+%d | %.0f | %d | %.0f | %s | %.1f | %.0f | %.0f %% | %.0f %% | %s | %s | %.1f | %.0f | %s |\n",
			in.Proxies, count(in.Shops), count(min(in.Cached, in.Shops)), in.Changes, in.Voters, in.Observers, in.Request/(1<<20),
			o.Sessions, o.Connections, count(o.Watches), o.HeapGiB, o.Reads, 100*o.Server, 100*o.Leader,
			milliseconds(o.P50), milliseconds(o.P99), o.Rearm, o.Fill, breaks)
	}
}

// count writes a large number as people say it.
func count(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.3g M", n/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.3g k", n/1e3)
	}
	return fmt.Sprintf("%.0f", n)
}

func milliseconds(ms float64) string {
	if math.IsNaN(ms) {
		return "-"
	}
	return fmt.Sprintf("%.1f", ms)
}
