package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/discovery"
	"magellan/internal/httpapi"
	"magellan/internal/shops"
)

// bubble is a Server without a listener, in a bubble of synctest: time passes
// when everybody waits.
type bubble struct {
	*world
	t        *testing.T
	registry *prometheus.Registry
}

func newBubble(t *testing.T, change func(*httpapi.Config)) *bubble {
	t.Helper()
	b := &bubble{world: &world{t: t, reader: newReader(), mirror: newMirror()}, t: t, registry: prometheus.NewRegistry()}
	began := time.Now()
	service, err := shops.New(shops.Config{
		Reader: b.reader, MaxStale: time.Hour,
		Now: func() time.Time { return now.Add(time.Since(began)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := httpapi.Config{Service: service, Services: b.mirror.Registry(time.Hour), Registerer: b.registry}
	if change != nil {
		change(&cfg)
	}
	if b.server, err = httpapi.New(cfg); err != nil {
		t.Fatal(err)
	}
	return b
}

// polled is the answer to a long poll, and when it came.
type polled struct {
	answer
	after time.Duration
}

// poll asks and waits with the ETag that the answer has now.
func (b *bubble) poll(ctx context.Context, target, prefer string) <-chan polled {
	b.t.Helper()
	etag := b.ask(ctx, target).Header.Get("Etag")
	if etag == "" {
		b.t.Fatalf("%s has no ETag", target)
	}
	got := make(chan polled, 1)
	go func() {
		defer func() {
			// The answer of a client that has left is cut off.
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				panic(p)
			}
			close(got)
		}()
		began := time.Now()
		a := b.ask(ctx, target, "If-None-Match: "+etag, "Prefer: "+prefer)
		got <- polled{a, time.Since(began)}
	}()
	synctest.Wait()
	return got
}

func (b *bubble) ask(ctx context.Context, target string, header ...string) answer {
	req := httptest.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header[name] = append(req.Header[name], value)
	}
	rec := httptest.NewRecorder()
	b.server.ServeHTTP(rec, req)
	return answer{rec.Result(), rec.Body.String()}
}

func waits(got <-chan polled) bool {
	synctest.Wait()
	return len(got) == 0
}

// TestLongPoll: each route's answer is waited for until its bytes are others,
// and by nothing else.
func TestLongPoll(t *testing.T) {
	ash1 := shops.Datacenter{Name: "ash1", Region: "us-east1", Capacity: 1000, Assigned: 812, Open: true}
	counted, moved, full := ash1, ash1, ash1
	counted.Assigned++
	moved.Region = "eu-west1"
	full.Assigned = 1000
	for _, tt := range []struct {
		target       string
		same, change func(b *bubble)
		status       int
		body         string
	}{
		{"/v1/shops/42",
			func(b *bubble) { b.reader.SetShop("42", "ash1"); b.reader.SetDatacenter(counted) },
			func(b *bubble) { b.reader.SetShop("42", "dub1") }, 200, `"dub1"`},
		{"/v1/shops/42",
			func(b *bubble) { b.reader.SetShop("43", "ash1"); b.reader.Publish(shops.ShopTopic("42")) },
			func(b *bubble) { b.reader.SetDatacenter(moved) }, 200, `"eu-west1"`},
		{"/v1/shops/42",
			func(b *bubble) { b.reader.SetStaleness(time.Minute, discovery.Stale) },
			func(b *bubble) { b.reader.DeleteShop("42") }, 404, "not-found"},
		{"/v1/shops/42",
			func(b *bubble) { b.reader.SetBadCitizens("x", "192.0.2.1") },
			func(b *bubble) { b.reader.DeleteDatacenter("ash1") }, 502, "unreadable-record"},
		{"/v1/services/cart",
			func(b *bubble) { b.mirror.Set("/services/both/3", `{"address":"h","port":1}`) },
			func(b *bubble) { b.mirror.Delete("/services/cart/a1") }, 200, `"a2"`},
		{"/v1/services/cart?format=text",
			func(b *bubble) { b.mirror.Delete("/services/cart/a5") }, // it is down, and in no line
			func(b *bubble) { b.mirror.Set("/services/cart/a6", `{"address":"10.9.9.9","port":1}`) }, 200, "10.9.9.9:1"},
		{"/v1/services/cart",
			func(b *bubble) { b.mirror.Delete("/svc/web/prod/blog/member_1") },
			func(b *bubble) { b.mirror.DeleteDirectory("/services/cart") }, 404, "not-found"},
		{"/v1/services",
			func(b *bubble) { b.mirror.Set("/services/cart/a1", `{"address":"10.9.9.9","port":1}`) },
			func(b *bubble) { b.mirror.Delete("/services/cart/a1") }, 200, `"instances":4`},
		{"/v1/placement?shop=new",
			func(b *bubble) { b.reader.SetShop("new", "ash1"); b.reader.SetRegion(shops.Region{Name: "empty"}) },
			func(b *bubble) { b.reader.SetDatacenter(full) }, 200, `"no headroom"`},
		{"/v1/placement?shop=new&exclude=eu-west1",
			func(b *bubble) {},
			func(b *bubble) { b.reader.SetDatacenter(full) }, 409, "no-capacity"},
		{"/v1/regions", func(b *bubble) { b.reader.SetDatacenter(counted) },
			func(b *bubble) { b.reader.SetRegion(shops.Region{Name: "new"}) }, 200, `"new"`},
		{"/v1/regions/us-east1", func(b *bubble) { b.reader.SetRegion(shops.Region{Name: "new"}) },
			func(b *bubble) { b.reader.DeleteRegion("us-east1") }, 404, "not-found"},
		{"/v1/datacenters", func(b *bubble) { b.reader.SetRegion(shops.Region{Name: "new"}) },
			func(b *bubble) { b.reader.SetDatacenter(counted) }, 200, `813`},
		{"/v1/datacenters/ash1", func(b *bubble) { b.reader.DeleteDatacenter("ash2") },
			func(b *bubble) { b.reader.SetDatacenter(counted) }, 200, `813`},
		{"/v1/bad-citizens?format=text", func(b *bubble) { b.reader.SetShop("42", "dub1") },
			func(b *bubble) { b.reader.SetBadCitizens("x", "192.0.2.1") }, 200, "192.0.2.1"},
		{"/v1/bad-citizens/203.0.113.7", func(b *bubble) { b.reader.SetBadCitizens("x", "192.0.2.1") },
			func(b *bubble) { b.reader.DeleteBadCitizens("fraud") }, 200, `"everybody"`},
	} {
		t.Run(tt.target, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, nil)
				got := b.poll(t.Context(), tt.target, "wait=30")
				if !waits(got) {
					t.Fatalf("it did not wait: %v", <-got)
				}
				if tt.same(b); !waits(got) && !strings.HasPrefix(tt.target, "/v1/bad-citizens?") {
					t.Fatalf("woken by what changes nothing: %s", (<-got).body)
				}
				tt.change(b)
				a := <-got
				if a.StatusCode != tt.status || !strings.Contains(a.body, tt.body) {
					t.Errorf("%s %s", a.Status, a.body)
				}
				if a.after >= time.Second {
					t.Errorf("it came after %v", a.after)
				}
				if a.Header.Get("Preference-Applied") != "wait=30" {
					t.Errorf("header %v", a.Header)
				}
				if a.StatusCode == 404 && a.Header.Get("Etag")+a.Header.Get("X-Zxid") != "" {
					t.Errorf("header of another answer: %v", a.Header)
				}
				if n := b.reader.Watches(); n != 0 {
					t.Errorf("%d watches are left", n)
				}
			})
		})
	}
}

// TestLongPollEnds: a wait ends in 304 within the time preferred, or within the
// bound; jitter makes it shorter, never longer.
func TestLongPollEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, func(cfg *httpapi.Config) { cfg.MaxWait = time.Minute })
		for _, tt := range []struct {
			prefer, applied string
			longest         time.Duration
		}{
			{"wait=10", "wait=10", 10 * time.Second},
			{"respond-async, wait=3600", "wait=60", time.Minute},
			{"wait=99999999999999999999999999", "wait=60", time.Minute},
			{"wait=1.5", "wait=2", 2 * time.Second},
			{"wait=0", "", 0},
			{"wait=x", "", 0},
			{"wait=-1", "", 0},
			{"wait=10s", "", 0},
			{"return=minimal", "", 0},
		} {
			distinct := map[time.Duration]bool{}
			for range 5 {
				b.reader.SetStaleness(3*time.Second, discovery.Stale)
				a := <-b.poll(t.Context(), "/v1/shops/42", tt.prefer)
				if a.StatusCode != 304 || a.after > tt.longest || a.after < tt.longest*9/10 || a.Header.Get("Preference-Applied") != tt.applied {
					t.Errorf("%s: %s after %v, %v", tt.prefer, a.Status, a.after, a.Header)
				}
				if a.Header.Get("X-Cache") != "STALE" || a.Header.Get("Age") != "3" || a.Header.Get("Etag") == "" {
					t.Errorf("%s: %v", tt.prefer, a.Header)
				}
				distinct[a.after] = true
			}
			if tt.longest > 0 && len(distinct) < 2 {
				t.Errorf("%s: all waits end after %v", tt.prefer, distinct)
			}
		}
		// What depends on nothing is not waited for, nor what is no GET.
		if a := <-b.poll(t.Context(), "/openapi.json", "wait=10"); a.StatusCode != 304 || a.after != 0 {
			t.Errorf("%s after %v", a.Status, a.after)
		}
		if a := b.ask(t.Context(), "/v1/shops/42", "Prefer: wait=10"); a.StatusCode != 200 {
			t.Errorf("without If-None-Match: %s", a.Status)
		}
	})
}

// TestLongPollExpiry: an entry that expires changes the answer without any
// event.
func TestLongPollExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, nil)
		b.reader.SetBadCitizens("brief", "192.0.2.1 expires=2026-06-01T12:02:30Z")
		list := b.poll(t.Context(), "/v1/bad-citizens?format=nginx", "wait=300")
		one := b.poll(t.Context(), "/v1/bad-citizens/192.0.2.1", "wait=300")
		other := b.poll(t.Context(), "/v1/bad-citizens/192.0.2.2", "wait=100")
		a := <-list // "gone in a second"
		if a.StatusCode != 200 || a.after != time.Second || strings.Contains(a.body, "198.51.100.1") {
			t.Errorf("%s after %v: %s", a.Status, a.after, a.body)
		}
		if a := <-other; a.StatusCode != 304 || a.after < 90*time.Second {
			t.Errorf("%s after %v: %s", a.Status, a.after, a.body)
		}
		if a := <-one; a.StatusCode != 200 || a.after != 150*time.Second || strings.Contains(a.body, "brief") {
			t.Errorf("%s after %v: %s", a.Status, a.after, a.body)
		}
	})
}

// TestLongPollTroubles: an outage is no change; clients that leave, too many
// and the end of the server are seen to.
func TestLongPollTroubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, func(cfg *httpapi.Config) { cfg.MaxPolls = 3 })
		got := b.poll(t.Context(), "/v1/shops/42", "wait=60")
		b.reader.SetShopErr("42", fmt.Errorf("%w: away", discovery.ErrUnavailable))
		if time.Sleep(20 * time.Second); !waits(got) {
			t.Fatalf("an outage ended it: %s", (<-got).Status)
		}
		b.reader.SetShop("42", "dub1")
		b.reader.SetShopErr("42", nil)
		if a := <-got; a.StatusCode != 200 || !strings.Contains(a.body, "dub1") {
			t.Errorf("%s %s", a.Status, a.body)
		}
		// An outage that lasts is told at the end.
		got = b.poll(t.Context(), "/v1/shops/42", "wait=60")
		b.reader.SetShopErr("42", fmt.Errorf("%w: away", discovery.ErrUnavailable))
		if a := <-got; a.StatusCode != 503 || a.after < 54*time.Second || a.Header.Get("Etag") != "" {
			t.Errorf("%s after %v: %v", a.Status, a.after, a.Header)
		}
		b.reader.SetShopErr("42", nil)

		ctx, cancel := context.WithCancel(t.Context())
		gone := b.poll(ctx, "/v1/shops/42", "wait=60")
		polls := []<-chan polled{b.poll(t.Context(), "/v1/shops/42", "wait=60"), b.poll(t.Context(), "/v1/shops/43", "wait=60")}
		if a := <-b.poll(t.Context(), "/v1/shops/42", "wait=60"); a.StatusCode != 503 || !strings.Contains(a.body, "overloaded") || a.Header.Get("Retry-After") == "" || a.Header.Get("Etag")+a.Header.Get("X-Cache") != "" {
			t.Errorf("one too many: %s %v %s", a.Status, a.Header, a.body)
		}
		cancel()
		<-gone
		synctest.Wait()
		if b.reader.Watches() != 4 {
			t.Errorf("%d watches for two polls", b.reader.Watches())
		}
		go func() { _ = b.server.Shutdown(context.Background()) }()
		for _, p := range polls {
			if a := <-p; a.StatusCode != 304 || a.after != 0 || a.Header.Get("Connection") != "close" {
				t.Errorf("at the end: %s after %v, %v", a.Status, a.after, a.Header)
			}
		}
		if b.reader.Watches() != 0 {
			t.Errorf("%d watches are left", b.reader.Watches())
		}
	})
}

// TestLongPollConnection: over a real connection a poll outlives the bounds that
// other requests have, a client that leaves is noticed, and the connection is
// good for the next request.
func TestLongPollConnection(t *testing.T) {
	const bound = 5 * time.Second // and no less: a slow machine needs some of it for each request
	registry := prometheus.NewRegistry()
	w := newWorld(t, func(cfg *httpapi.Config) {
		cfg.ReadTimeout, cfg.WriteTimeout = bound, bound
		cfg.Registerer = registry
	})
	etag := w.get("/v1/shops/42").Header.Get("Etag")
	began := time.Now()
	if a := w.get("/v1/shops/42", "If-None-Match: "+etag, "Prefer: wait=6"); a.StatusCode != 304 || a.Header.Get("Preference-Applied") != "wait=6" {
		t.Errorf("%s %v", a.Status, a.Header)
	}
	if took := time.Since(began); took <= bound {
		t.Errorf("it took %v: the bound on reading cut it short", took)
	}
	var clients sync.WaitGroup
	for i := range 20 {
		clients.Go(func() {
			if a := w.get("/v1/shops/42", "If-None-Match: "+etag, "Prefer: wait=60", "X-Request-Id: "+strconv.Itoa(i)); a.StatusCode != 200 || !strings.Contains(a.body, "dub1") {
				t.Errorf("%s %s", a.Status, a.body)
			}
		})
	}
	eventually(t, func() bool { return w.reader.Watches() == 40 })
	w.reader.SetShop("42", "dub1")
	clients.Wait()

	etag = w.get("/v1/shops/42").Header.Get("Etag")
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+"/v1/shops/42", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("If-None-Match", etag)
	req.Header.Set("Prefer", "wait=300")
	go func() {
		eventually(t, func() bool { return w.reader.Watches() == 2 })
		cancel()
	}()
	if _, err := w.client.Do(req); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	eventually(t, func() bool { return w.reader.Watches() == 0 })
	eventually(t, func() bool { return requests(t, registry, "/v1/shops/{shop}", "499") == 1 })
}

// TestLongPollHungUp: a client is noticed to have left even where it has sent
// more than its request.
func TestLongPollHungUp(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.Heartbeat, cfg.Registerer = 20*time.Millisecond, registry })
	etag := w.get("/v1/shops/42").Header.Get("Etag")
	conn := w.hold(1, "GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\nPrefer: wait=300\r\nIf-None-Match: "+etag+"\r\n\r\n")[0]
	eventually(t, func() bool { return w.reader.Watches() == 2 })
	if _, err := io.WriteString(conn, "GET"); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	eventually(t, func() bool { return w.reader.Watches() == 0 })
	eventually(t, func() bool { return requests(t, registry, "/v1/shops/{shop}", "499") == 1 })
}

// TestWaitingWithBody: a request with a body does not wait, or it would wait for
// the body without end.
func TestWaitingWithBody(t *testing.T) {
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.ReadTimeout = 100 * time.Millisecond })
	etag := w.get("/v1/shops/42").Header.Get("Etag")
	for _, body := range []string{"Content-Length: 10\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"} {
		a := w.raw("GET /v1/shops/42 HTTP/1.1\r\nHost: a\r\nPrefer: wait=1\r\nIf-None-Match: "+etag+"\r\n"+body, http.MethodGet)[0]
		if a.StatusCode != 304 || a.Header.Get("Preference-Applied") != "" {
			t.Errorf("%s %v", a.Status, a.Header)
		}
		a = w.raw("GET /v1/watch?shop=42 HTTP/1.1\r\nHost: a\r\n"+body, http.MethodGet)[0]
		if a.StatusCode != 400 || !a.Close {
			t.Errorf("%s %v", a.Status, a.Header)
		}
	}
}

// TestLongPollUnread: a client that has waited and does not read the answer is given
// up, as any other is.
func TestLongPollUnread(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.WriteTimeout, cfg.Registerer = 100*time.Millisecond, registry })
	// A pipe holds nothing: what is written has been read.
	l := &pipes{make(chan net.Conn), make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(l) }()
	conn := l.dial()
	etag := w.get("/v1/bad-citizens").Header.Get("Etag")
	if _, err := io.WriteString(conn, "GET /v1/bad-citizens HTTP/1.1\r\nHost: a\r\nPrefer: wait=300\r\nIf-None-Match: "+etag+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return w.reader.Watches() == 1 })
	w.reader.SetBadCitizens("large", largeList(1000)) // more than net/http's own buffer
	eventually(t, func() bool { return requests(t, registry, "/v1/bad-citizens", "499") == 1 })
	conn.Close()
	if err := w.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
