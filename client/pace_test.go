package client_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"magellan/client"
)

// times returns when the fake was asked.
func times(t *testing.T, handle http.HandlerFunc) (*fake, <-chan time.Time) {
	asked := make(chan time.Time, 1000)
	return newFake(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- time.Now():
		default:
		}
		handle(w, r)
	}), asked
}

// longest returns the longest of the next three pauses. A machine that stands still makes a client believe
// once that it has waited.
func longest(asked <-chan time.Time) (pause time.Duration) {
	before := <-asked
	for range 3 {
		at := <-asked
		pause, before = max(pause, at.Sub(before)), at
	}
	return pause
}

// TestPollsAtOnce: a server, or a proxy before it, that does not wait with its answer is not asked
// again at once.
func TestPollsAtOnce(t *testing.T) {
	for name, handle := range map[string]http.HandlerFunc{
		"304": func(w http.ResponseWriter, r *http.Request) {
			known{cache: "HIT", etag: "e"}.write(w)
			if r.Header.Get("If-None-Match") != "" {
				w.WriteHeader(304)
				return
			}
			fmt.Fprint(w, "{}")
		},
		"200":     shop("ash1", known{cache: "HIT"}),
		"no ETag": func(w http.ResponseWriter, r *http.Request) { known{cache: "HIT"}.write(w); fmt.Fprint(w, "{}") },
		"broken JSON": func(w http.ResponseWriter, r *http.Request) {
			known{cache: "HIT", etag: "e"}.write(w)
			fmt.Fprint(w, "{")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, asked := times(t, handle)
			c := newClient(t, client.Config{LongPolls: true}, s)
			defer c.Shop("42").Follow().Close()
			<-asked
			if pause := longest(asked); pause < time.Second {
				t.Errorf("it was asked again after %v at the most", pause)
			}
		})
	}
}

// TestStreamsEndAtOnce: the pauses grow between streams that begin and end at once.
func TestStreamsEndAtOnce(t *testing.T) {
	cut := make(chan struct{})
	close(cut)
	s, asked := times(t, events(cut, snapshot("snapshot", "ash1", 5), synced))
	c := newClient(t, client.Config{}, s, s)
	defer c.Shop("42").Follow().Close()
	for range 7 {
		<-asked
	}
	if pause := longest(asked); pause < 4*leastPause/10 {
		t.Errorf("after 8 failures it was asked again after %v at the most", pause)
	}
}

// TestManyConfirm: if a server has lost its newest state, the followers do not all ask at once whether
// that is so.
func TestManyConfirm(t *testing.T) {
	const followers, most = 100, 16
	var lost atomic.Bool
	var asking, peak, asked atomic.Int32
	release := make(chan struct{})
	s := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/watch" {
			for n := asking.Add(1); ; {
				if old := peak.Load(); n <= old || peak.CompareAndSwap(old, n) {
					break
				}
			}
			<-release
			asking.Add(-1)
			asked.Add(1)
			shop("old", known{cache: "HIT", zxid: 5})(w, r)
			return
		}
		name, zxid := "new", 9
		if lost.Load() {
			name, zxid = "old", 5
		}
		var all []string
		for key := range strings.SplitSeq(r.URL.RawQuery, "&") {
			all = append(all, strings.Replace(snapshot("snapshot", name, zxid), "shop=42", key, 1))
		}
		events(nil, append(all, synced)...)(w, r)
	})
	c := newClient(t, client.Config{}, s)
	var all []*client.Follower[client.Shop]
	for i := range followers {
		all = append(all, c.Shop(fmt.Sprint(i)).Follow())
	}
	for _, f := range all {
		in(t, f, "new")
	}
	lost.Store(true)
	s.CloseClientConnections()
	eventually(t, func() error {
		if n := asking.Load(); n < most {
			return fmt.Errorf("%d ask", n)
		}
		return nil
	})
	close(release)
	eventually(t, func() error {
		if n := asked.Load(); n < followers {
			return fmt.Errorf("%d have asked", n)
		}
		return nil
	})
	if n := peak.Load(); n > most {
		t.Errorf("%d asked at once", n)
	}
}

// leastPause is where pauses begin, the shortest being a tenth of it; they double with each round of
// all servers.
const leastPause = 500 * time.Millisecond
