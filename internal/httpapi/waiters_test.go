package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/httpapi"
	"magellan/internal/shops"
	"magellan/internal/shops/shopstest"
)

// pipes is a listener whose connections take no file descriptors, of which one
// process may have too few.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// BenchmarkWaiters has many connections wait, each for one of 10,000 shops, and
// reports the memory that one takes in the process: heap and stacks, the pipe
// that stands for its connection included, the kernel's buffers of a real one
// not.
func BenchmarkWaiters(b *testing.B) {
	for _, kind := range []string{"poll", "stream"} {
		b.Run(kind, func(b *testing.B) { benchmarkWaiters(b, kind == "poll") })
	}
}

func benchmarkWaiters(b *testing.B, poll bool) {
	const waiters, count = 50_000, 10_000
	reader := shopstest.New()
	reader.SetRegion(shops.Region{Name: "us-east1", Open: true})
	reader.SetDatacenter(shops.Datacenter{Name: "ash1", Region: "us-east1", Capacity: count, Open: true})
	for i := range count {
		reader.SetShop(strconv.Itoa(i), "ash1")
	}
	service, err := shops.New(shops.Config{Reader: reader})
	if err != nil {
		b.Fatal(err)
	}
	server, err := httpapi.New(httpapi.Config{Service: service, Registerer: prometheus.NewRegistry(), MaxWait: time.Hour, MaxStreams: waiters})
	if err != nil {
		b.Fatal(err)
	}
	var requests [count]string
	for i := range requests {
		target := fmt.Sprintf("/v1/watch?shop=%d", i)
		header := ""
		if poll {
			target = "/v1/shops/" + strconv.Itoa(i)
			rec := httptest.NewRecorder()
			server.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, target, nil))
			header = "If-None-Match: " + rec.Header().Get("Etag") + "\r\nPrefer: wait=3600\r\n"
		}
		requests[i] = "GET " + target + " HTTP/1.1\r\nHost: a\r\n" + header + "\r\n"
	}
	l := &pipes{make(chan net.Conn), make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	conns := make([]net.Conn, 0, waiters)
	before := memory()
	for i := range waiters {
		conn := l.dial()
		if _, err := io.WriteString(conn, requests[i%count]); err != nil {
			b.Fatal(err)
		}
		if !poll { // until it is synced; what follows finds nobody who reads
			buf, got := make([]byte, 2048), ""
			for !strings.Contains(got, "event: synced") {
				n, err := conn.Read(buf)
				if err != nil {
					b.Fatal(err)
				}
				got += string(buf[:n])
			}
		}
		conns = append(conns, conn)
	}
	for end := time.Now().Add(time.Minute); reader.Watches() != 2*waiters; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("%d watches", reader.Watches())
		}
	}
	after := memory()
	b.ReportMetric(float64(after-before)/waiters, "B/waiter")
	b.ReportMetric(0, "ns/op")
	for _, conn := range conns {
		conn.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		b.Error(err)
	}
	if err := <-served; err != nil {
		b.Error(err)
	}
}

// memory is what heap and stacks take.
func memory() int64 {
	runtime.GC()
	runtime.GC() // stacks shrink in one, and what was theirs is free in the next
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
