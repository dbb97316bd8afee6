package zk_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// BenchmarkReads keeps 1,000 reads in flight, of 10,000 znodes of 150 bytes,
// and tells the CPU time of this process per read. The server has the C2
// compiler, as it would have in production.
func BenchmarkReads(b *testing.B) {
	s := zktest.Start(b, zktest.WithJava("-XX:TieredStopAtLevel=4", "-Xmx512m"))
	c := open(b, zk.Config{}, s)
	const nodes, inFlight = 10_000, 1_000
	data := make([]byte, 150)
	var ops []zk.Op
	for i := range nodes {
		ops = append(ops, zk.CreateOp(fmt.Sprintf("/n%06d", i), data, zk.CreateOptions{}))
		if len(ops) == 1000 {
			if _, err := c.Multi(testContext(b), ops...); err != nil {
				b.Fatal(err)
			}
			ops = nil
		}
	}
	for _, watch := range []bool{false, true} {
		b.Run(fmt.Sprintf("watch=%v", watch), func(b *testing.B) {
			b.ReportAllocs()
			slots := make(chan struct{}, inFlight)
			done := func(data []byte, _ zk.Stat, err error) {
				if err != nil || len(data) != 150 {
					b.Errorf("%d bytes, %v", len(data), err)
				}
				<-slots
			}
			begun := cpu()
			for i := range b.N {
				slots <- struct{}{}
				c.GetAsync(fmt.Sprintf("/n%06d", i%nodes), watch, done)
			}
			for range inFlight {
				slots <- struct{}{}
			}
			b.ReportMetric(float64((cpu()-begun).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
	b.Run("one at a time", func(b *testing.B) {
		b.ReportAllocs()
		ctx := testContext(b)
		begun := cpu()
		for i := range b.N {
			if _, _, err := c.Get(ctx, fmt.Sprintf("/n%06d", i%nodes)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64((cpu()-begun).Nanoseconds())/float64(b.N), "cpu-ns/op")
	})
}

// cpu returns the time this process has spent on processors.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
