package httpapi_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/httpapi"
)

// TestAccessLog: a line for each request, complete once the server has ended.
func TestAccessLog(t *testing.T) {
	var log lockedBuffer
	w := newWorld(t, func(cfg *httpapi.Config) {
		cfg.AccessLog, cfg.AccessFormat = &log, httpapi.AccessJSON
		cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	w.get("/v1/shops/42?", "User-Agent: curl/8 \"é\"", "Referer: http://x/", "X-Request-Id: mine-1", "X-Forwarded-For: 192.0.2.66, 198.51.100.7, 127.0.0.9")
	etag := w.get("/v1/shops/43").Header.Get("Etag")
	w.get("/v1/shops/43", "If-None-Match: "+etag)
	w.do("POST", "/v1/shops/lookup", `{"shops":["42"]}`)
	w.do("HEAD", "/v1/shops/42", "")
	w.get("/v2?a=b")
	w.raw("hello\r\n\r\n", "GET")
	if err := w.server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	type line struct {
		Time                               time.Time
		Client, Remote, Method, URI, Proto string
		Status, Bytes                      int
		Seconds                            float64
		Route, Cache, Referer              string
		RequestID                          string `json:"request_id"`
		UserAgent                          string `json:"user_agent"`
	}
	var lines []line
	decoder := json.NewDecoder(strings.NewReader(log.String()))
	decoder.DisallowUnknownFields()
	for decoder.More() {
		var l line
		if err := decoder.Decode(&l); err != nil {
			t.Fatalf("%v:\n%s", err, log.String())
		}
		if l.Time.IsZero() || l.Seconds < 0 || !strings.HasPrefix(l.Remote, "127.0.0.1:") || l.RequestID == "" {
			t.Errorf("%+v", l)
		}
		l.Time, l.Seconds, l.Remote = time.Time{}, 0, ""
		if l.RequestID != "mine-1" {
			l.RequestID = ""
		}
		if strings.HasPrefix(l.UserAgent, "Go-http-client") {
			l.UserAgent = ""
		}
		lines = append(lines, l)
	}
	want := []line{
		{Client: "198.51.100.7", Method: "GET", URI: "/v1/shops/42?", Proto: "HTTP/1.1", Status: 200, Bytes: 54, Route: "/v1/shops/{shop}", Cache: "HIT", Referer: "http://x/", RequestID: "mine-1", UserAgent: `curl/8 "é"`},
		{Client: "127.0.0.1", Method: "GET", URI: "/v1/shops/43", Proto: "HTTP/1.1", Status: 200, Bytes: 54, Route: "/v1/shops/{shop}", Cache: "HIT"},
		{Client: "127.0.0.1", Method: "GET", URI: "/v1/shops/43", Proto: "HTTP/1.1", Status: 304, Route: "/v1/shops/{shop}", Cache: "HIT"},
		{Client: "127.0.0.1", Method: "POST", URI: "/v1/shops/lookup", Proto: "HTTP/1.1", Status: 200, Bytes: 85, Route: "/v1/shops/lookup", Cache: "HIT"},
		{Client: "127.0.0.1", Method: "HEAD", URI: "/v1/shops/42", Proto: "HTTP/1.1", Status: 200, Route: "/v1/shops/{shop}", Cache: "HIT"},
		{Client: "127.0.0.1", Method: "GET", URI: "/v2?a=b", Proto: "HTTP/1.1", Status: 404, Bytes: 155, Route: "other"},
		{Client: "127.0.0.1", Status: 400, Bytes: 130, Route: "other"},
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines:\n%s", len(lines), log.String())
	}
	for i := range want {
		if want[i].Method == "" {
			want[i].Bytes = lines[i].Bytes
		}
		if lines[i] != want[i] {
			t.Errorf("line %d:\n got %+v\nwant %+v", i, lines[i], want[i])
		}
	}
}

// TestAccessLogCombined: the lines are Apache's, and nothing that a client sends ends
// one or a part of one.
func TestAccessLogCombined(t *testing.T) {
	var log lockedBuffer
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.AccessLog, cfg.AccessFormat = &log, httpapi.AccessCombined })
	w.get("/v1/shops/42", "User-Agent: a\" \"b\\\t\xff", "X-Forwarded-For: 192.0.2.66")
	w.raw("GET /v1/shops/4\"2 HTTP/1.1\r\nHost: a\r\n\r\n", "GET")
	w.raw("hello\r\n\r\n", "GET")
	if err := w.server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	const start = `^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] `
	lines := strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")
	want := []string{
		start + `"GET /v1/shops/42 HTTP/1\.1" 200 54 "-" "a\\" \\"b\\\\\\x09\\xff"$`,
		start + `"GET /v1/shops/4\\"2 HTTP/1\.1" 404 \d+ "-" "-"$`,
		start + `"-" 400 \d+ "-" "-"$`,
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines:\n%s", len(lines), log.String())
	}
	for i := range want {
		if !regexp.MustCompile(want[i]).MatchString(lines[i]) {
			t.Errorf("%s\nis not\n%s", lines[i], want[i])
		}
	}
}

// stuckWriter takes nothing until it is let go.
type stuckWriter struct {
	entered chan struct{}
	goOn    chan struct{}
	once    sync.Once
	lockedBuffer
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	w.once.Do(func() { close(w.entered) })
	<-w.goOn
	return w.lockedBuffer.Write(p)
}

// TestAccessLogStuck: who reads the log and stops holds up no request and takes no
// more memory than there is for it; what is lost is counted.
func TestAccessLogStuck(t *testing.T) {
	registry := prometheus.NewRegistry()
	log := &stuckWriter{entered: make(chan struct{}), goOn: make(chan struct{})}
	w := newWorld(t, func(cfg *httpapi.Config) {
		cfg.AccessLog, cfg.AccessFormat, cfg.Registerer = log, httpapi.AccessJSON, registry
	})
	dropped := func() float64 { return plainCounter(t, registry, "magellan_http_access_log_dropped_lines_total") }
	target := "/healthz?" + strings.Repeat("x", 8<<10)
	w.get(target)
	<-log.entered
	sent := 1
	for ; dropped() == 0; sent++ {
		if sent > 2000 {
			t.Fatal("nothing is dropped")
		}
		if a := w.get(target); a.StatusCode != http.StatusOK {
			t.Fatal(a.Status)
		}
	}
	// It does not hold up the end either.
	httpapi.SetAccessLast(w.server, time.Millisecond)
	if err := w.server.Shutdown(t.Context()); err == nil || !strings.Contains(err.Error(), "access log") {
		t.Errorf("Shutdown: %v", err)
	}
	close(log.goOn)
	httpapi.SetAccessLast(w.server, patience)
	if err := w.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if lines := strings.Count(log.String(), "\n"); lines+int(dropped()) != sent || len(log.String()) > 2<<20 {
		t.Errorf("%d lines and %v dropped of %d", lines, dropped(), sent)
	}
}

// TestAccessLogFails: a disk that is full is told of, and costs lines, no answers.
func TestAccessLogFails(t *testing.T) {
	registry := prometheus.NewRegistry()
	reader, writer := io.Pipe()
	reader.CloseWithError(fmt.Errorf("no space left"))
	w := newWorld(t, func(cfg *httpapi.Config) {
		cfg.AccessLog, cfg.AccessFormat, cfg.Registerer = writer, httpapi.AccessJSON, registry
	})
	for range 10 {
		if a := w.get("/v1/shops/42"); a.StatusCode != http.StatusOK {
			t.Fatal(a.Status)
		}
	}
	eventually(t, func() bool { return plainCounter(t, registry, "magellan_http_access_log_dropped_lines_total") == 10 })
	if _, err := httpapi.New(httpapi.Config{Service: service(t), AccessLog: writer, AccessFormat: "text"}); err == nil {
		t.Error("an unknown format is taken")
	}
}

// plainCounter reads a counter without labels.
func plainCounter(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

// TestAccessLogUnix: a proxy that connects to a unix socket is believed if that is
// trusted, and nobody is taken for the address that is the name of its socket.
func TestAccessLogUnix(t *testing.T) {
	for trust, want := range map[bool]string{true: "198.51.100.1", false: "unix:"} {
		var log lockedBuffer
		w := newWorld(t, func(cfg *httpapi.Config) {
			cfg.AccessLog, cfg.AccessFormat = &log, httpapi.AccessCombined
			cfg.TrustUnix, cfg.TrustedProxies = trust, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		})
		t.Chdir(t.TempDir())
		l, err := net.Listen("unix", "api.sock")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- w.server.Serve(l) }()
		for i, request := range []string{"GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\nConnection: close\r\n\r\n", "hello\r\n\r\n"} {
			own := &net.UnixAddr{Name: fmt.Sprintf("10.0.0.1:%d", 80+i), Net: "unix"}
			c, err := net.DialUnix("unix", own, l.Addr().(*net.UnixAddr))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, request); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(c); err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		if err := w.server.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		if got := log.String(); !strings.HasPrefix(got, want+" - - [") || !strings.Contains(got, "\nunix: - - [") {
			t.Errorf("trusted %v: want %s, then unix: in\n%s", trust, want, got)
		}
	}
}
