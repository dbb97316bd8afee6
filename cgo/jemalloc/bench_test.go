//go:build !asan

package jemalloc_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/internal/stitchtest"
)

// BenchmarkUnwinder compares what a sampled allocation, and the free of it, costs
// in processor time, with the hook and with jemalloc's own unwinder: medians of alternating rounds in
// one process, which takes each allocation as a sample.
//
//	go test -run '^$' -bench Unwinder ./cgo/jemalloc
func BenchmarkUnwinder(b *testing.B) {
	const rounds, count = 31, 10_000
	if !isChild(b) {
		child := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^"+b.Name()+"$", "-test.benchtime=1x")
		child.Env = append(os.Environ(), "JEMALLOC_TEST_CHILD="+b.Name(), "MALLOC_CONF=lg_prof_sample:0")
		out, err := child.Output()
		if err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		b.Logf("%s", out)
		for range b.N {
		}
		return
	}
	for _, goFrames := range []int{0, 10, 40} {
		b.Run(fmt.Sprintf("%d Go frames", goFrames), func(b *testing.B) {
			var cost [2][]float64 // stock, hook
			for round := range 2 * rounds {
				hook := round % 2
				if err := jemalloc.UseStockUnwinder(hook == 0); err != nil {
					b.Fatal(err)
				}
				spent := stitchtest.Many(goFrames, 128, count)
				cost[hook] = append(cost[hook], float64(spent.Nanoseconds())/count)
			}
			stock, hook := median(cost[0]), median(cost[1])
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(stock, "stock-ns/sample")
			b.ReportMetric(hook, "hook-ns/sample")
			b.ReportMetric(hook/stock, "hook/stock")
		})
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
