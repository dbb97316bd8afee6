package admin

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
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config() Config {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "magellan_test_total", Help: "For this test."})
	counter.Add(3)
	registry.MustRegister(counter)
	return Config{Listen: "127.0.0.1:0", Gatherer: registry, Logger: slog.New(slog.DiscardHandler)}
}

// start serves cfg until the test ends and returns the server's URL.
func start(t *testing.T, cfg Config) (*Server, string) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return s, "http://" + s.Addr().String()
}

// client follows no redirects.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func do(t *testing.T, method, url string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestRoutes(t *testing.T) {
	cfg := config()
	cfg.Routes = []Route{
		{[]string{"GET"}, "/debug/pprof/native", "native memory", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "native profile") })},
		{[]string{"GET", "HEAD"}, "/admin/json", "JSON", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { WriteJSON(w, 200, map[string]int{"n": 1}) })},
		{[]string{"GET"}, "/admin/cache/*", "all below", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { WriteProblem(w, 404, "no "+r.URL.Path) })},
		{[]string{"GET", "PUT"}, "/admin/jeprof/dumps/:id", "one dump", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Method+" "+r.URL.Path) })},
	}
	_, url := start(t, cfg)
	for _, test := range []struct {
		method, path string
		status       int
		contentType  string
		body         string // is part of it
	}{
		{"GET", "/metrics", 200, "text/plain", "magellan_test_total 3"},
		{"GET", "/admin/json", 200, "application/json", `"n": 1`},
		{"HEAD", "/admin/json", 200, "application/json", ""},
		{"POST", "/admin/json", 405, "application/problem+json", "Method Not Allowed"},
		{"GET", "/admin/cache/a//%2Fb%25", 404, "application/problem+json", `"detail": "no /admin/cache/a///b%"`},
		{"GET", "/nowhere", 404, "application/problem+json", "nothing is served at /nowhere"},
		{"GET", "/debug/pprof", 301, "", ""},
		{"GET", "/debug/pprof/", 200, "text/html", "goroutine"},
		{"GET", "/debug/pprof/goroutine?debug=1", 200, "text/plain", "goroutine profile: total"},
		{"GET", "/debug/pprof/cmdline", 200, "text/plain", "admin.test"},
		{"GET", "/debug/pprof/symbol", 200, "text/plain", "num_symbols: 1"},
		{"POST", "/debug/pprof/symbol", 200, "text/plain", "num_symbols: 1"},
		{"GET", "/debug/pprof/native", 200, "text/plain", "native profile"},
		{"PUT", "/admin/jeprof/dumps/7", 200, "text/plain", "PUT /admin/jeprof/dumps/7"},
		{"DELETE", "/admin/jeprof/dumps/7", 405, "application/problem+json", ""},
	} {
		resp, body := do(t, test.method, url+test.path)
		if resp.StatusCode != test.status || !strings.HasPrefix(resp.Header.Get("Content-Type"), test.contentType) || !strings.Contains(body, test.body) {
			t.Errorf("%s %s: %d %s\n%s\nwant %d %s … %s", test.method, test.path,
				resp.StatusCode, resp.Header.Get("Content-Type"), body, test.status, test.contentType, test.body)
		}
	}
}

func TestIndexListsEveryRoute(t *testing.T) {
	cfg := config()
	cfg.Routes = []Route{
		{[]string{"PUT"}, "/admin/jeprof/active", "sampling on & off", http.NotFoundHandler()},
		{[]string{"GET"}, "/admin/memory", "memory", http.NotFoundHandler()},
		{[]string{"GET"}, "/admin/cache/*", "one znode", http.NotFoundHandler()},
	}
	_, url := start(t, cfg)
	_, body := do(t, "GET", url+"/")
	for _, want := range []string{
		`<a href="/metrics">/metrics</a>`, `<a href="/admin/memory">`, `<a href="/admin/cache/">/admin/cache/*</a>`,
		`<a href="/debug/pprof/profile">`, "<td>PUT</td><td>/admin/jeprof/active</td><td>sampling on &amp; off</td>",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the index page lacks %s:\n%s", want, body)
		}
	}
}

func TestToken(t *testing.T) {
	cfg := config()
	cfg.Token = "s3cret"
	_, url := start(t, cfg)
	withPassword := strings.Replace(url, "http://", "http://anyone:s3cret@", 1)
	for _, test := range []struct {
		name   string
		url    string
		header []string
		status int
	}{
		{"none", url, nil, 401},
		{"bearer", url, []string{"Authorization", "Bearer s3cret"}, 200},
		{"bearer in lower case", url, []string{"Authorization", "bearer s3cret"}, 200},
		{"wrong", url, []string{"Authorization", "Bearer s3cret!"}, 401},
		{"beginning of it", url, []string{"Authorization", "Bearer s3cre"}, 401},
		{"empty", url, []string{"Authorization", "Bearer "}, 401},
		{"without scheme", url, []string{"Authorization", "s3cret"}, 401},
		{"password", withPassword, nil, 200},
		{"wrong password", strings.Replace(withPassword, "s3cret", "secret", 1), nil, 401},
		{"as user name", strings.Replace(withPassword, "anyone:s3cret", "s3cret:", 1), nil, 401},
	} {
		for _, path := range []string{"/metrics", "/", "/debug/pprof/", "/nowhere"} {
			want := test.status
			if want == 200 && path == "/nowhere" {
				want = 404
			}
			resp, body := do(t, "GET", test.url+path, test.header...)
			if resp.StatusCode != want {
				t.Errorf("%s: GET %s: %d, want %d", test.name, path, resp.StatusCode, want)
			}
			if want != 401 {
				continue
			}
			if got := resp.Header.Values("WWW-Authenticate"); len(got) != 2 || !strings.HasPrefix(got[0], "Bearer ") {
				t.Errorf("%s: GET %s: WWW-Authenticate: %q", test.name, path, got)
			}
			if resp.Header.Get("Content-Type") != "application/problem+json" || strings.Contains(body, cfg.Token) {
				t.Errorf("%s: GET %s: %s", test.name, path, body)
			}
		}
	}
}

func TestNoTokenNoPublicAddress(t *testing.T) {
	for _, listen := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.7:0"} {
		cfg := config()
		cfg.Listen = listen
		s, err := New(cfg)
		if err == nil {
			s.Shutdown(context.Background())
			t.Errorf("%q without a token: no error", listen)
		} else if !errors.Is(err, ErrNoToken) || !strings.Contains(err.Error(), "set a token, or listen on a loopback address") {
			t.Errorf("%q without a token: %v", listen, err)
		}
	}
	cfg := config()
	cfg.Listen, cfg.Token = ":0", "s3cret"
	s, _ := start(t, cfg)
	if resp, _ := do(t, "GET", "http://127.0.0.1:"+port(s)+"/metrics"); resp.StatusCode != 401 {
		t.Errorf("a request without the token: %d, want 401", resp.StatusCode)
	}
	cfg.Listen, cfg.Token = "localhost:0", ""
	start(t, cfg) // loopback by name
}

func port(s *Server) string {
	_, p, _ := net.SplitHostPort(s.Addr().String())
	return p
}

func TestUsedPort(t *testing.T) {
	s, _ := start(t, config())
	cfg := config()
	cfg.Listen = s.Addr().String()
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), cfg.Listen) {
		t.Errorf("got %v, want an error that names %s", err, cfg.Listen)
	}
}

func TestCrossOriginPostIsRefused(t *testing.T) {
	var called atomic.Bool
	cfg := config()
	cfg.Routes = []Route{{[]string{"POST"}, "/admin/jeprof/dump", "dump", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called.Store(true) })}}
	_, url := start(t, cfg)
	if resp, _ := do(t, "POST", url+"/admin/jeprof/dump", "Origin", "https://evil.example"); resp.StatusCode != 403 || called.Load() {
		t.Errorf("a page's POST: %d, called: %v", resp.StatusCode, called.Load())
	}
	if resp, _ := do(t, "POST", url+"/admin/jeprof/dump"); resp.StatusCode != 200 || !called.Load() {
		t.Errorf("curl's POST: %d, called: %v", resp.StatusCode, called.Load())
	}
}

// A page whose owner has its name lead to a loopback address is, to the browser, of
// the same origin. Without a token only the name tells it from an operator.
func TestOtherNamesAreRefusedWithoutToken(t *testing.T) {
	for token, other := range map[string]int{"": 421, "s3cret": 200} {
		cfg := config()
		cfg.Token = token
		s, _ := start(t, cfg)
		for host, want := range map[string]int{
			"evil.example": other, "evil.example:" + port(s): other, "127.0.0.1.evil.example": other, "": 200,
			"localhost": 200, "LocalHost:" + port(s): 200, "a.localhost": 200, "127.0.0.1:" + port(s): 200, "[::1]:6060": 200, "[::1]": 200, "192.0.2.7": 200,
		} {
			conn, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "GET /metrics HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer s3cret\r\nConnection: close\r\n\r\n", host)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != want {
				t.Errorf("token %q, Host %q: %d, want %d", token, host, resp.StatusCode, want)
			}
			conn.Close()
		}
	}
}

// A profile longer than the write timeout must not be cut off by it.
func TestSecondsMoveTheDeadline(t *testing.T) {
	cfg := config()
	cfg.Routes = []Route{{[]string{"GET"}, "/slow", "waits", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-time.After(300 * time.Millisecond) // stands for the requested seconds
		io.WriteString(w, "done")
	})}}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.http.WriteTimeout = 100 * time.Millisecond
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	defer func() {
		s.Shutdown(context.Background())
		<-served
		http.DefaultClient.CloseIdleConnections()
	}()
	url := "http://" + s.Addr().String() + "/slow"
	if resp, err := http.Get(url); err == nil {
		resp.Body.Close()
		t.Error("without seconds: answered after the write timeout")
	}
	if _, body := do(t, "GET", url+"?seconds=30"); body != "done" {
		t.Errorf("with seconds: %q", body)
	}
}

// Shutdown ends a CPU profile that was asked for a minute, and what was
// gathered so far is a whole profile.
func TestShutdownEndsProfiles(t *testing.T) {
	s, err := New(config())
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	resp, err := http.Get("http://" + s.Addr().String() + "/debug/pprof/trace?seconds=60") // its first bytes come at once
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	profiled := make(chan error, 1)
	go func() {
		resp, err := http.Get("http://" + s.Addr().String() + "/debug/pprof/profile?seconds=60")
		if err != nil {
			profiled <- err
			return
		}
		defer resp.Body.Close()
		var body bytes.Buffer
		if _, err = body.ReadFrom(resp.Body); err == nil {
			_, err = profile.Parse(&body)
		}
		profiled <- err
	}()
	waitForSleepers(t, 2)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("a second Shutdown: %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := <-profiled; err != nil {
		t.Errorf("the profile that was cut short: %v", err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("the trace that was cut short: %v", err)
	}
}

// A handler that waits learns why it has to end.
func TestShutdownSaysWhy(t *testing.T) {
	cfg := config()
	waiting, why := make(chan bool), make(chan error, 1)
	cfg.Routes = []Route{{[]string{"GET"}, "/waits", "waits", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(waiting)
		<-r.Context().Done()
		why <- context.Cause(r.Context())
	})}}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	var ends sync.WaitGroup
	defer ends.Wait()
	ends.Go(func() { s.Serve() })
	ends.Go(func() {
		if resp, err := http.Get("http://" + s.Addr().String() + "/waits"); err == nil {
			resp.Body.Close()
		}
	})
	<-waiting
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-why; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "about to end") {
		t.Errorf("it learns %v", err)
	}
}

// waitForSleepers returns once n handlers of net/http/pprof wait for their
// seconds to pass. Starting a profile to see whether one runs would be in its way.
func waitForSleepers(t *testing.T, n int) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); runtime.Gosched() {
		if bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("net/http/pprof.sleep(")) >= n {
			return
		}
	}
	t.Fatalf("no %d profiles ever ran at once:\n%s", n, stacks[:runtime.Stack(stacks, true)])
}

// A Server that is never served gives its port back.
func TestShutdownWithoutServe(t *testing.T) {
	s, err := New(config())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", s.Addr().String()); err == nil {
		conn.Close()
		t.Error("the port is still open")
	}
}

func TestConfig(t *testing.T) {
	for _, spoil := range []func(*Config){
		func(c *Config) { c.Gatherer = nil },
		func(c *Config) { c.Listen = "127.0.0.1:what" },
	} {
		cfg := config()
		spoil(&cfg)
		if s, err := New(cfg); err == nil {
			s.Shutdown(context.Background())
			t.Errorf("%+v: no error", cfg)
		}
	}
}
