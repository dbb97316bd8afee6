package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"magellan/internal/childproc"
)

// benchmarkLine is a line of go test -bench -benchmem.
var benchmarkLine = regexp.MustCompile(`(?m)^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op.*?\s(\d+) B/op\s+(\d+) allocs/op`)

// measureAllocations runs the benchmarks of the handlers, magellan's beside
// Echo's with a prebuilt body.
func (r *run) measureAllocations(ctx context.Context) error {
	out, err := childproc.Run(ctx, exec.Command("go", "test", "-run", "^$", "-bench", "^Benchmark(Shop|Service)", "-benchmem", "-count", strconv.Itoa(r.allocationRounds), "./internal/httpapi"))
	if err != nil {
		return err
	}
	type result struct{ ns, bytes, allocs []float64 }
	results := map[string]*result{}
	var names []string
	for _, m := range benchmarkLine.FindAllStringSubmatch(string(out), -1) {
		if results[m[1]] == nil {
			results[m[1]] = &result{}
			names = append(names, m[1])
		}
		for i, to := range []*[]float64{&results[m[1]].ns, &results[m[1]].bytes, &results[m[1]].allocs} {
			v, err := strconv.ParseFloat(m[2+i], 64)
			if err != nil {
				return err
			}
			*to = append(*to, v)
		}
	}
	t := &table{head: []string{"benchmark", "ns/op", "B/op", "allocations/op"}}
	for _, name := range names {
		b := results[name]
		t.add(name, number(median(b.ns), 0), number(median(b.bytes), 0), number(median(b.allocs), 0))
	}
	// Over a real connection: net/http's allocations are in both.
	for _, what := range []string{"Shop", "Service"} {
		ours, echos := results[what+"Loopback/magellan"], results[what+"Loopback/prebuilt"]
		if ours == nil || echos == nil {
			return fmt.Errorf("go test has run no Benchmark%sLoopback/magellan and /prebuilt: %s", what, out)
		}
		r.report.goal(goal{what: fmt.Sprintf("heap allocations per read of a %s that net/http and Echo do not make", strings.ToLower(what)), atMost: true,
			got: max(0, median(ours.allocs)-median(echos.allocs))})
	}
	r.report.section("Allocations", fmt.Sprintf("`go test -bench '^Benchmark(Shop|Service)' -benchmem ./internal/httpapi`, %d times. ShopHandler and ServiceHandler, of a service with 20 instances, are the handler alone; ShopLoopback and ServiceLoopback are served over one connection to a client that allocates nothing, so that what net/http allocates is there too. prebuilt is Echo with a body that is there already.", r.allocationRounds), t)
	return nil
}
