package httpapi_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"magellan/internal/httpapi"
)

// hold opens connections that each send something and then nothing.
func (w *world) hold(n int, sent string) []net.Conn {
	w.t.Helper()
	conns := make([]net.Conn, 0, n)
	w.t.Cleanup(func() {
		for _, conn := range conns {
			conn.Close()
		}
	})
	for range n {
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			w.t.Fatalf("connection %d: %v", len(conns), err)
		}
		conns = append(conns, conn)
		if _, err := io.WriteString(conn, sent); err != nil {
			w.t.Fatal(err)
		}
	}
	return conns
}

// TestHostileConnections: thousands of connections that send nothing, half a
// request, or a request a byte at a time; others go on being answered.
func TestHostileConnections(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	idle := 10_000
	if limit.Cur < 30_000 {
		idle = int(limit.Cur)/2 - 2500 // both ends are in this process
	}
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.ReadHeaderTimeout, cfg.ReadTimeout = 5*time.Second, 5*time.Second })
	w.hold(idle, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
	halves := w.hold(500, "GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\n")
	w.hold(500, "")
	bodies := w.hold(500, "POST /v1/shops/lookup HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
	// A byte now and then does not buy time.
	var dripped atomic.Int64
	var dripping sync.WaitGroup
	for _, conn := range w.hold(100, "GET /") {
		dripping.Go(func() {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for range tick.C {
				if _, err := io.WriteString(conn, "a"); err != nil {
					return
				}
				dripped.Add(1)
			}
		})
	}
	for range 100 {
		if a := w.get("/v1/shops/42"); a.StatusCode != http.StatusOK {
			t.Fatal(a.Status)
		}
	}
	dripping.Wait() // each has been closed
	for _, conn := range []net.Conn{halves[0], halves[len(halves)-1], bodies[0], bodies[len(bodies)-1]} {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("half a request is still waited for: %v", err)
		}
	}
	t.Logf("%d idle connections, %d bytes dripped", idle, dripped.Load())
}

// TestTooManyConnections: what is beyond the bound is closed at once, and there is
// room again once others have left.
func TestTooManyConnections(t *testing.T) {
	const most = 10
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.MaxConns = most })
	const request = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
	conns := w.hold(most, request)
	for _, conn := range conns {
		if !served(t, conn) {
			t.Fatal("closed, with room for it")
		}
	}
	if w.servesOne() {
		t.Error("served beyond the bound")
	}
	conns[0].Close()
	eventually(t, w.servesOne)
}

// TestTooManyConnectionsHTTP2: a connection that is refused for HTTP/2 counts until it is
// closed.
func TestTooManyConnectionsHTTP2(t *testing.T) {
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.MaxConns = 1 })
	conn := w.hold(1, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")[0]
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || len(got) == 0 {
		t.Fatalf("%q, %v", got, err)
	}
	if w.servesOne() { // the server still reads what the client may send
		t.Error("served beyond the bound")
	}
	conn.Close()
	eventually(t, w.servesOne)
}

// served reports whether something comes on a connection before its end.
func served(t testing.TB, conn net.Conn) bool {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("neither served nor closed")
	}
	return n > 0
}

// servesOne reports whether a new connection is served.
func (w *world) servesOne() bool {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n") // it may be closed already
	return served(w.t, conn)
}

// TestHugeHeaders: a megabyte of header is refused before it has been read.
func TestHugeHeaders(t *testing.T) {
	w := newWorld(t, nil)
	for _, header := range []string{
		"X: " + strings.Repeat("x", 1<<20),
		strings.Repeat("X: y\r\n", 1<<18) + "Z: z",
		strings.Repeat("If-None-Match: \"a\"\r\n", 1<<16) + "Z: z",
		"Last-Event-ID: " + strings.Repeat("A", 1<<20),
	} {
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		go func() { fmt.Fprintf(conn, "GET /v1/watch?shop=42 HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", header) }()
		got, err := io.ReadAll(conn)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%.20q: %v", header, err)
		}
		if len(got) > 0 && !strings.HasPrefix(string(got), "HTTP/1.1 431 ") {
			t.Errorf("%.20q: %q", header, got)
		}
		conn.Close()
	}
	if a := w.get("/v1/shops/42"); a.StatusCode != http.StatusOK {
		t.Error(a.Status)
	}
}

// TestAnnouncedBodies: what a client says it will send takes no memory before it
// does.
func TestAnnouncedBodies(t *testing.T) {
	const clients = 100
	w := newWorld(t, nil)
	before := memory()
	for _, conn := range w.hold(clients, "POST /v1/shops/lookup HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 8388608\r\n\r\n") {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		// The body is waited for now.
		if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != http.StatusContinue {
			t.Fatal(res, err)
		}
	}
	if took := (memory() - before) / clients; took > 256<<10 {
		t.Errorf("each took %d bytes", took)
	}
}
