package httpapi_test

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"magellan/internal/httpapi"
)

// TestDrainSpread: a server that is stopped lets those go who wait one after the
// other, over the whole delay.
func TestDrainSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const polls, delay = 400, time.Minute
		b := newBubble(t, func(cfg *httpapi.Config) { cfg.DrainDelay = delay })
		etag := b.ask(t.Context(), "/v1/shops/42").Header.Get("Etag")
		var early, late atomic.Int64
		var drained sync.WaitGroup
		var began time.Time
		for i := range polls {
			shop, status := "42", http.StatusNotModified
			if i == 0 {
				shop, status = "43", http.StatusOK // it moves meanwhile
			}
			etag := b.ask(t.Context(), "/v1/shops/"+shop).Header.Get("Etag")
			drained.Go(func() {
				a := b.ask(t.Context(), "/v1/shops/"+shop, "If-None-Match: "+etag, "Prefer: wait=300")
				after := time.Since(began)
				if i == 0 && after == 0 && a.StatusCode == http.StatusNotModified {
					status = a.StatusCode // its turn was the first, and it had not moved yet
				}
				if a.StatusCode != status || a.Header.Get("Connection") != "close" {
					t.Errorf("%s %v", a.Status, a.Header)
				}
				switch {
				case after < delay/2:
					early.Add(1)
				case after < delay:
					late.Add(1)
				default:
					t.Errorf("let go after %v", after)
				}
			})
		}
		synctest.Wait()
		began = time.Now()
		drained.Go(func() {
			if err := b.server.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took != delay {
				t.Errorf("Shutdown returned after %v", took)
			}
		})
		synctest.Wait()
		b.reader.SetShop("43", "ash1")
		time.Sleep(delay / 4)
		for _, tt := range []struct {
			target string
			header []string
			status int
		}{
			{"/v1/shops/42", []string{"If-None-Match: " + etag, "Prefer: wait=300"}, http.StatusServiceUnavailable},
			{"/v1/watch?shop=42", nil, http.StatusServiceUnavailable},
			{"/v1/shops/42", []string{"If-None-Match: " + etag}, http.StatusNotModified},
			{"/v1/shops/42", []string{`If-None-Match: "another"`, "Prefer: wait=300"}, http.StatusOK},
			{"/v1/shops/42", nil, http.StatusOK},
		} {
			a := b.ask(t.Context(), tt.target, tt.header...)
			if a.StatusCode != tt.status || a.Header.Get("Connection") != "close" {
				t.Errorf("%s %v: %s %v", tt.target, tt.header, a.Status, a.Header)
			}
			if refused := a.StatusCode == http.StatusServiceUnavailable; refused &&
				(a.Header.Get("Retry-After") != "45" || a.Header.Get("Etag")+a.Header.Get("X-Cache")+a.Header.Get("Preference-Applied") != "") {
				t.Errorf("%s: header of another answer, or none: %v", tt.target, a.Header)
			}
		}
		drained.Wait()
		if n, m := early.Load(), late.Load(); n < polls/4 || m < polls/4 {
			t.Errorf("%d let go in the first half of the delay, %d in the second", n, m)
		}
	})
}

// TestDrainConnections: the same with real connections and a stream among them.
// Clients that ask again at once are told to come later, and those whose turn has
// not come go on waiting.
func TestDrainConnections(t *testing.T) {
	const polls = 60
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.DrainDelay = 2 * time.Minute })
	etag := w.get("/v1/shops/42").Header.Get("Etag")
	poll := []string{"If-None-Match: " + etag, "Prefer: wait=300"}
	first := make(chan struct{}, polls)
	var gone atomic.Int64
	var clients sync.WaitGroup
	for i := range polls {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.addr+"/v1/shops/42", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"If-None-Match": {etag}, "Prefer": {"wait=300"}, "X-Request-Id": {strconv.Itoa(i)}}
		clients.Go(func() {
			res, err := w.client.Do(req)
			if err != nil {
				return // cut off at the end of the test
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusNotModified || !res.Close {
				t.Errorf("%s %v", res.Status, res.Header)
			}
			gone.Add(1)
			first <- struct{}{}
		})
	}
	eventually(t, func() bool { return w.reader.Watches() == 2*polls })

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.server.Shutdown(ctx) }()
	<-first
	if n := gone.Load(); n > polls/2 {
		t.Errorf("%d of %d are gone with the first", n, polls)
	}
	for range 3 {
		if a := w.get("/v1/shops/42", poll...); a.StatusCode != http.StatusServiceUnavailable || !a.Close || a.Header.Get("Retry-After") == "" {
			t.Errorf("a new poll: %s %v %s", a.Status, a.Header, a.body)
		}
		if a := w.get("/v1/watch?shop=42"); a.StatusCode != http.StatusServiceUnavailable || !a.Close || a.Header.Get("Retry-After") == "" {
			t.Errorf("a new stream: %s %v %s", a.Status, a.Header, a.body)
		}
		if a := w.get("/v1/shops/42"); a.StatusCode != http.StatusOK || !a.Close {
			t.Errorf("a plain request: %s %v %s", a.Status, a.Header, a.body)
		}
	}
	cancel()
	<-done // an error or none: it depends on who was still there
	clients.Wait()
}
