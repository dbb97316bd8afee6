package client_test

import (
	"fmt"
	"net/http"
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
			second := <-asked
			if pause := (<-asked).Sub(second); pause < time.Second {
				t.Errorf("it was asked again after %v", pause)
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
	before := <-asked
	if pause := (<-asked).Sub(before); pause < 4*leastPause/10 {
		t.Errorf("after 8 failures it was asked again after %v", pause)
	}
}

// leastPause is where pauses begin, the shortest being a tenth of it; they double with each round of
// all servers.
const leastPause = 500 * time.Millisecond
