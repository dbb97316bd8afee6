package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/httpapi"
	"magellan/internal/shops"
	"magellan/internal/shops/shopstest"
)

// BenchmarkPlacementStreams is one write of "assigned", seen by 20 streams that each
// watch 500 placements: processor time from the write to the last event read, and
// heap and stacks that a stream takes before it.
func BenchmarkPlacementStreams(b *testing.B) {
	for _, tt := range []struct {
		name   string
		shared bool
	}{{"same", true}, {"distinct", false}} {
		b.Run(tt.name, func(b *testing.B) { benchmarkPlacementStreams(b, tt.shared) })
	}
}

func benchmarkPlacementStreams(b *testing.B, shared bool) {
	const streams, keys, datacenters = 20, 500, 40
	reader := shopstest.New()
	dc := func(i, assigned int) shops.Datacenter {
		return shops.Datacenter{Name: fmt.Sprintf("dc-%d", i), Region: fmt.Sprintf("region-%d", i%8), Capacity: 10_000, Assigned: int64(assigned), Open: true}
	}
	for i := range datacenters {
		reader.SetRegion(shops.Region{Name: fmt.Sprintf("region-%d", i%8), Open: true})
		reader.SetDatacenter(dc(i, 10*i))
	}
	service, err := shops.New(shops.Config{Reader: reader})
	if err != nil {
		b.Fatal(err)
	}
	server, err := httpapi.New(httpapi.Config{Service: service, Registerer: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	l := listen(b)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	before := memory()
	var synced, round sync.WaitGroup
	ctx, cancel := context.WithCancel(b.Context())
	for s := range streams {
		var query strings.Builder
		for k := range keys {
			name := k
			if !shared {
				name += s * keys
			}
			fmt.Fprintf(&query, "&placement=new-%d", name)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr().String()+"/v1/watch?"+query.String()[1:], nil)
		if err != nil {
			b.Fatal(err)
		}
		synced.Add(1)
		go func() {
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			defer res.Body.Close()
			counts, buf, tail := 0, make([]byte, 64<<10), ""
			for {
				n, err := res.Body.Read(buf)
				if err != nil {
					return
				}
				text := tail + string(buf[:n])
				if strings.Contains(text, "event: synced") {
					synced.Done()
				}
				c := strings.Count(text, "event: change\n")
				counts += c
				tail = ""
				if i := strings.LastIndexByte(text, '\n'); i >= 0 && i+1 < len(text) {
					tail = text[i+1:]
				}
				if counts >= keys {
					counts -= keys
					round.Done()
				}
			}
		}()
	}
	synced.Wait()
	took := memory() - before
	used := processor(b)
	b.ResetTimer()
	for i := range b.N {
		round.Add(streams)
		reader.SetDatacenter(dc(7, 1000+i))
		round.Wait()
	}
	b.StopTimer()
	b.ReportMetric(float64(processor(b)-used)/float64(b.N)/1e6, "processor-ms/write")
	b.ReportMetric(float64(took)/streams, "B/stream")
	cancel()
	_ = io.Discard
	if err := server.Shutdown(context.Background()); err != nil {
		b.Error(err)
	}
	if err := <-served; err != nil {
		b.Error(err)
	}
}

// processor is the processor time that this process has used.
func processor(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
