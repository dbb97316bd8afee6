package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"magellan/internal/discovery"
	"magellan/internal/httpapi"
	"magellan/internal/shops"
)

// raw sends bytes over a connection of their own and reads answers to the
// requests in them, which are of the given methods.
func (w *world) raw(sent string, methods ...string) []answer {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(conn, sent) }()
	var answers []answer
	buffered := bufio.NewReader(conn)
	for _, method := range methods {
		answers = append(answers, readAnswer(w.t, buffered, method))
	}
	return answers
}

// at is w at another address.
func (w *world) at(addr net.Addr) *world {
	return &world{t: w.t, addr: addr.String(), client: w.client}
}

func readAnswer(t testing.TB, r *bufio.Reader, method string) answer {
	t.Helper()
	res, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res, string(body)}
}

// TestOneConnection pipelines requests over one connection, cut anywhere: no
// answer has another's header or body.
func TestOneConnection(t *testing.T) {
	w := newWorld(t, nil)
	const lookup = `{"shops":["42"]}GET /v1/shops/42 HTTP/1.1`
	requests := []struct{ request, method, body string }{
		{"GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\n\r\n", "GET", `"42"`},
		{"GET /v1/shops/43 HTTP/1.1\r\nHost: a\r\nuser-agent: b\r\n\r\n", "GET", `"43"`},
		{"GET /v1/shops/%34%32 HTTP/1.1\r\nHost: a\r\n\r\n", "GET", `"42"`},
		// Its body looks like a request.
		{fmt.Sprintf("POST /v1/shops/lookup HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(lookup), lookup), "POST", "follows"},
		{"GET /v1/shops/nope HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "nope"},
		{"HEAD /v1/shops/42 HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD", ""},
		{"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "ok"},
		{"GET /v1/shops/43 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET", `"43"`},
	}
	var sent strings.Builder
	var methods []string
	for _, r := range requests {
		sent.WriteString(r.request)
		methods = append(methods, r.method)
	}
	check := func(answers []answer) {
		t.Helper()
		ids := make(map[string]bool)
		for i, a := range answers {
			if !strings.Contains(a.body, requests[i].body) {
				t.Errorf("%q: %s %q", requests[i].request, a.Status, a.body)
			}
			if etag := a.Header.Get("Etag"); a.StatusCode == http.StatusOK && requests[i].method == http.MethodGet && etag != fmt.Sprintf("\"%016x\"", xxhash.Sum64String(a.body)) {
				t.Errorf("%q: ETag %s of %q", requests[i].request, etag, a.body)
			}
			ids[a.Header.Get("X-Request-Id")] = true
		}
		if len(ids) != len(requests) {
			t.Errorf("%d requests have %d ids", len(requests), len(ids))
		}
	}
	check(w.raw(sent.String(), methods...))

	for cut := 1; cut < sent.Len(); cut += 7 {
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		var answers []answer
		buffered := bufio.NewReader(conn)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, method := range methods {
				answers = append(answers, readAnswer(t, buffered, method))
			}
		}()
		for _, part := range []string{sent.String()[:cut], sent.String()[cut:]} {
			if _, err := io.WriteString(conn, part); err != nil {
				t.Fatal(err)
			}
		}
		<-done
		check(answers)
		if _, err := buffered.ReadByte(); err != io.EOF {
			t.Errorf("after the last answer: %v", err)
		}
		conn.Close()
	}

	const many = 1000
	answers := w.raw(strings.Repeat(requests[0].request, many), strings.Split(strings.Repeat("GET ", many-1)+"GET", " ")...)
	for _, a := range answers {
		if a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"42"`) {
			t.Fatalf("%s %q", a.Status, a.body)
		}
	}
}

// waitingReader answers for a shop when its context ends, or it is let go.
type waitingReader struct {
	shops.Reader
	asked chan struct{}
	goOn  chan struct{}
}

func (r *waitingReader) Shop(ctx context.Context, name string, opt discovery.ReadOptions) (*shops.Home, discovery.Meta, error) {
	r.asked <- struct{}{}
	select {
	case <-ctx.Done():
		return nil, discovery.Meta{}, ctx.Err()
	case <-r.goOn:
		return r.Reader.Shop(ctx, name, opt)
	}
}

// withWaitingReader makes a Server's shops wait.
func withWaitingReader(t *testing.T, timeout time.Duration) (*world, *waitingReader) {
	reader := &waitingReader{Reader: newReader(), asked: make(chan struct{}), goOn: make(chan struct{})}
	service, err := shops.New(shops.Config{Reader: reader})
	if err != nil {
		t.Fatal(err)
	}
	return newWorld(t, func(cfg *httpapi.Config) { cfg.Service, cfg.RequestTimeout = service, timeout }), reader
}

// TestClientGone: a client that leaves ends its request's wait and gets nothing.
func TestClientGone(t *testing.T) {
	registry := prometheus.NewRegistry()
	reader := &waitingReader{Reader: newReader(), asked: make(chan struct{}), goOn: make(chan struct{})}
	service, err := shops.New(shops.Config{Reader: reader})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(cfg *httpapi.Config) {
		cfg.Service, cfg.RequestTimeout, cfg.Registerer = service, time.Hour, registry
	})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+"/v1/shops/%34%32", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() { <-reader.asked; cancel() }()
	if _, err := w.client.Do(req); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	eventually(t, func() bool { return requests(t, registry, "/v1/shops/{shop}", "499") == 1 })
}

// eventually polls until ok, or fails.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not happen in %v", patience)
		}
	}
}

// requests reads the number of requests counted.
func requests(t *testing.T, registry *prometheus.Registry, route, code string) uint64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "magellan_http_request_duration_seconds" {
			continue
		}
		for _, m := range family.GetMetric() {
			labels := make(map[string]string)
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["route"] == route && labels["code"] == code {
				return m.GetHistogram().GetSampleCount()
			}
		}
	}
	return 0
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.Registerer = registry })
	w.get("/v1/shops/42")
	w.get("/v1/shops/43")
	w.get("/v1/shops/nope")
	w.get("/v1/shops/%34%32")
	w.do("POST", "/v1/shops/lookup", "{}")
	w.get("/v2")
	w.do("DELETE", "/v1/regions", "")
	w.do("HEAD", "/v1/regions", "")
	for _, tt := range []struct {
		route, code string
		want        uint64
	}{
		{"/v1/shops/{shop}", "200", 3},
		{"/v1/shops/{shop}", "404", 1},
		{"/v1/shops/lookup", "400", 1},
		{"/v1/regions", "200", 1},
		{"other", "404", 1},
		{"other", "405", 1},
	} {
		eventually(t, func() bool { return requests(t, registry, tt.route, tt.code) == tt.want })
	}
	// How answers were come by, those about absence included; who is refused has none.
	w.reader.SetStaleness(time.Minute, discovery.Stale)
	w.get("/v1/shops/42")
	etag := w.get("/v1/regions").Header.Get("Etag")
	w.get("/v1/regions", "If-None-Match: "+etag)
	for answer, want := range map[[2]string]float64{
		{"/v1/shops/{shop}", "HIT"}: 4, {"/v1/shops/{shop}", "STALE"}: 1, {"/v1/shops/{shop}", "MISS"}: 0,
		{"/v1/shops/lookup", "HIT"}: 0, {"/v1/regions", "HIT"}: 1, {"/v1/regions", "STALE"}: 2, {"other", "HIT"}: 0,
	} {
		eventually(t, func() bool { return answers(t, registry, answer[0], answer[1]) == want })
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if _, err := httpapi.New(httpapi.Config{Service: service(t), Registerer: registry}); err == nil {
		t.Error("metrics were registered twice")
	}
}

// answers reads the number of answers counted by how they were come by.
func answers(t *testing.T, registry *prometheus.Registry, route, cache string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if l := m.GetLabel(); family.GetName() == "magellan_http_answers_total" && l[0].GetValue() == cache && l[1].GetValue() == route {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no counter of %s %s", route, cache)
	return 0
}

func service(t *testing.T) *shops.Service {
	s, err := shops.New(shops.Config{Reader: newReader()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConfig(t *testing.T) {
	for _, cfg := range []httpapi.Config{
		{},
		{Service: service(t), DrainDelay: -1},
		{Service: service(t), RequestTimeout: -1},
		{Service: service(t), IdleTimeout: -1},
		{Service: service(t), MaxHeaderBytes: -1},
	} {
		if _, err := httpapi.New(cfg); err == nil || !strings.HasPrefix(err.Error(), "httpapi: Config.") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

// lockedBuffer is a log that is written by several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestLog(t *testing.T) {
	var log lockedBuffer
	w := newWorld(t, func(cfg *httpapi.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	a := w.get("/v1/shops/42", "X-Request-Id: mine-1")
	if a.Header.Get("X-Request-Id") != "mine-1" {
		t.Errorf("header %v", a.Header)
	}
	if b := w.get("/v1/shops/42", "X-Request-Id: not mine"); b.Header.Get("X-Request-Id") == "not mine" {
		t.Errorf("header %v", b.Header)
	}
	eventually(t, func() bool { return strings.Count(log.String(), "uri=/v1/shops/42") == 2 })
	if !strings.Contains(log.String(), "request_id=mine-1") || !strings.Contains(log.String(), "status=200") || !strings.Contains(log.String(), "bytes=54") {
		t.Errorf("log:\n%s", log.String())
	}
}

// panicReader panics for one shop.
type panicReader struct{ shops.Reader }

func (r panicReader) Shop(ctx context.Context, name string, opt discovery.ReadOptions) (*shops.Home, discovery.Meta, error) {
	if name == "boom" {
		panic("a mishap")
	}
	return r.Reader.Shop(ctx, name, opt)
}

func TestPanic(t *testing.T) {
	var log lockedBuffer
	s, err := shops.New(shops.Config{Reader: panicReader{newReader()}})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(cfg *httpapi.Config) {
		cfg.Service, cfg.Logger = s, slog.New(slog.NewTextHandler(&log, nil))
	})
	for i, target := range []string{"/v1/shops/boom", "/v1/shops/%62oom"} {
		a := w.get(target)
		if a.StatusCode != http.StatusInternalServerError || strings.Contains(a.body, "a mishap") {
			t.Errorf("%s: %s %s", target, a.Status, a.body)
		}
		if b := w.get("/v1/shops/42"); b.StatusCode != http.StatusOK {
			t.Errorf("after a panic: %s", b.Status)
		}
		eventually(t, func() bool { return strings.Count(log.String(), `panic="a mishap"`) == i+1 })
		if !strings.Contains(log.String(), a.Header.Get("X-Request-Id")) || !strings.Contains(log.String(), "panicReader") {
			t.Errorf("log:\n%s", log.String())
		}
	}
}

// TestShutdown shuts down under load, with clients behind something that looks
// at /readyz as load balancers do: every request gets a whole answer, and who
// keeps a connection is told to leave it.
func TestShutdown(t *testing.T) {
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.DrainDelay = 2 * time.Second })
	var answered atomic.Int64
	var drained atomic.Bool // /readyz has said so: no new connections
	var clients sync.WaitGroup
	client := func(request, want string, again bool) {
		defer clients.Done()
		for {
			if drained.Load() {
				return
			}
			conn, err := net.DialTimeout("tcp", w.addr, patience)
			if err != nil {
				t.Error(err)
				return
			}
			buffered := bufio.NewReader(conn)
			for {
				if _, err := io.WriteString(conn, request); err != nil {
					t.Errorf("%q: %v", request, err)
					return
				}
				res, err := http.ReadResponse(buffered, nil)
				if err != nil {
					t.Errorf("%q: %v", request, err)
					return
				}
				body, err := io.ReadAll(res.Body)
				if err != nil || !strings.Contains(string(body), want) {
					t.Errorf("%q: %v, %q", request, err, body)
					return
				}
				answered.Add(1)
				if res.Close {
					conn.Close()
					return // told to go, it goes elsewhere
				}
				if !again {
					break
				}
			}
			conn.Close()
		}
	}
	for range 4 {
		for _, c := range []struct{ request, want string }{
			{"GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\n\r\n", "us-east1\"}\n"},
			{"GET /v1/shops/%34%32 HTTP/1.1\r\nHost: a\r\n\r\n", "us-east1\"}\n"},
			{"GET /v1/datacenters HTTP/1.1\r\nHost: a\r\n\r\n", "]}\n"},
		} {
			clients.Add(2)
			go client(c.request, c.want, true)
			go client(c.request, c.want, false)
		}
	}
	eventually(t, func() bool { return answered.Load() > 1000 })

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- w.server.Shutdown(ctx) }()
	eventually(t, func() bool {
		res, err := w.client.Get("http://" + w.addr + "/readyz")
		if err != nil {
			t.Errorf("/readyz while draining: %v", err)
			return true
		}
		res.Body.Close()
		if res.StatusCode == http.StatusServiceUnavailable && res.Close {
			drained.Store(true)
		}
		return drained.Load()
	})
	clients.Wait() // before the delay is over
	select {
	case err := <-done:
		t.Errorf("Shutdown returned (%v) before the last client had gone", err)
	default:
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", w.addr); err == nil {
		t.Error("connections are still accepted")
	}
}

// TestShutdownWaits: a request in flight is answered; one that takes longer than
// the caller of Shutdown can wait is cut off.
func TestShutdownWaits(t *testing.T) {
	for _, target := range []string{"/v1/shops/42", "/v1/shops/%34%32"} {
		w, reader := withWaitingReader(t, time.Hour)
		type result struct {
			res *http.Response
			err error
		}
		got := make(chan result, 1)
		get := func() {
			res, err := w.client.Get("http://" + w.addr + target)
			if err == nil {
				res.Body.Close()
			}
			got <- result{res, err}
		}
		go get()
		<-reader.asked
		done := make(chan error, 1)
		go func() { done <- w.server.Shutdown(context.Background()) }()
		eventually(t, func() bool {
			conn, err := net.DialTimeout("tcp", w.addr, 10*time.Millisecond)
			if err == nil {
				conn.Close()
			}
			return err != nil
		})
		select {
		case err := <-done:
			t.Fatalf("Shutdown returned with a request in flight: %v", err)
		default:
		}
		close(reader.goOn)
		if r := <-got; r.err != nil || r.res.StatusCode != http.StatusOK {
			t.Errorf("%s: %+v", target, r)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}

		w, reader = withWaitingReader(t, time.Hour)
		go get()
		<-reader.asked
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := w.server.Shutdown(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown: %v", err)
		}
		if r := <-got; r.err == nil {
			t.Errorf("%s: %+v", target, r)
		}
	}
}

// TestServeTwice: several listeners, and none after Shutdown.
func TestServeTwice(t *testing.T) {
	w := newWorld(t, nil)
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- w.server.Serve(l) }()
	second := w.at(l.Addr())
	if a := second.get("/v1/shops/42"); a.StatusCode != http.StatusOK {
		t.Error(a.Status)
	}
	if a := w.get("/v1/shops/42"); a.StatusCode != http.StatusOK {
		t.Error(a.Status)
	}
	w.client.CloseIdleConnections()
	if err := w.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := w.server.Serve(listen(t)); err != nil {
		t.Error(err)
	}
	broken := listen(t)
	broken.Close()
	fresh := newWorld(t, nil)
	if err := fresh.server.Serve(broken); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener: %v", err)
	}
}

// FuzzPath: whatever stands in a path, the answer is one of ours, of the shop
// that net/url takes the path for.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"42", "%34%32", "%252F", "a%2Fb", "%ff", "%00", "..", "a/b", "%zz", "lookup", "a?b", "caf%C3%A9", "%F0%9F%98%80", "a b"} {
		f.Add(s)
	}
	w := newWorld(f, nil)
	handler := w.server.Handler()
	f.Fuzz(func(t *testing.T, path string) {
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /v1/shops/" + path + " HTTP/1.1\r\nHost: a\r\n\r\n")))
		if err != nil {
			return
		}
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		switch rec.Code {
		case http.StatusOK:
			if name := strings.TrimPrefix(req.URL.Path, "/v1/shops/"); !strings.HasPrefix(rec.Body.String(), fmt.Sprintf(`{"shop":%q,`, name)) {
				t.Errorf("%q: %s", path, rec.Body)
			}
		case http.StatusNotFound, http.StatusBadRequest, http.StatusBadGateway:
			if rec.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%q: %v %s", path, rec.Header(), rec.Body)
			}
		default:
			t.Errorf("%q: %d %s", path, rec.Code, rec.Body)
		}
	})
}
