package client_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"magellan/client"
)

// streams is a server of streams, which knows which keys are watched by streams that are open. It
// refuses keys as a magellan does: the whole stream.
type streams struct {
	*fake
	mu      sync.Mutex
	open    map[*http.Request][]string
	begun   int
	refuses func(key string) bool
}

func newStreams(t *testing.T) *streams {
	s := &streams{open: map[*http.Request][]string{}, refuses: func(string) bool { return false }}
	s.fake = newFake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/watch" {
			problem(400, "invalid-name", known{})(w, r)
			return
		}
		var keys []string
		var text strings.Builder
		for part := range strings.SplitSeq(r.URL.RawQuery, "&") {
			key, err := url.QueryUnescape(part)
			if err != nil {
				t.Error(err)
			}
			if s.refuses(key) {
				problem(400, "invalid-request", known{})(w, r)
				return
			}
			keys = append(keys, key)
			fmt.Fprintf(&text, "event: snapshot\ndata: {\"key\":%q,\"status\":200,\"etag\":\"\\\"e\\\"\",\"cache\":\"HIT\",\"age\":0,\"value\":{\"datacenter\":\"d\"}}\n\n", key)
		}
		s.mu.Lock()
		s.open[r] = keys
		s.begun++
		s.mu.Unlock()
		events(nil, text.String(), synced)(w, r)
		s.mu.Lock()
		delete(s.open, r)
		s.mu.Unlock()
	})
	return s
}

// watched are the numbers of keys of the open streams, and how many streams watch each key.
func (s *streams) watched() (sizes []int, keys map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys = map[string]int{}
	for _, all := range s.open {
		sizes = append(sizes, len(all))
		for _, key := range all {
			keys[key]++
		}
	}
	return sizes, keys
}

// TestFewStreams: followers share streams, whether they come together or one after the other.
func TestFewStreams(t *testing.T) {
	for _, together := range []bool{true, false} {
		s := newStreams(t)
		c := newClient(t, client.Config{}, s.fake)
		n := 600 // a stream has 500 keys at most
		if !together {
			n = 40
		}
		var all []*client.Follower[client.Shop]
		for i := range n {
			f := c.Shop(fmt.Sprintf("shop %d&", i)).Follow()
			if all = append(all, f); !together {
				in(t, f, "d")
			}
		}
		for _, f := range all {
			in(t, f, "d")
		}
		eventually(t, func() error {
			sizes, keys := s.watched()
			if len(keys) != n || len(sizes) > 6 {
				return fmt.Errorf("%d keys in streams of %v", len(keys), sizes)
			}
			for key, streams := range keys {
				if streams != 1 {
					return fmt.Errorf("%d streams watch %q", streams, key)
				}
			}
			return nil
		})
		if s.begun > 2*n {
			t.Errorf("%d streams were opened for %d keys", s.begun, n)
		}
		for _, f := range all {
			f.Close()
		}
		eventually(t, func() error {
			if sizes, _ := s.watched(); len(sizes) > 0 {
				return fmt.Errorf("streams of %v keys are still open", sizes)
			}
			return nil
		})
	}
}

// TestGroups: streams are of shops, of services or of znodes, because a server that does not serve
// some of them refuses the stream.
func TestGroups(t *testing.T) {
	s := newStreams(t)
	s.refuses = func(key string) bool { return strings.HasPrefix(key, "shop=") }
	c := newClient(t, client.Config{}, s.fake)
	service, znode, shop := c.Service("a/b", client.Filter{}).Follow(), c.Znode("/a b").Follow(), c.Shop("42").Follow()
	if _, err := service.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := znode.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	in(t, shop, "it is invalid-name")
	eventually(t, func() error {
		if _, keys := s.watched(); len(keys) != 2 || keys["service=a/b"] != 1 || keys["znode=/a b"] != 1 {
			return fmt.Errorf("watched: %v", keys)
		}
		return nil
	})
}

// TestRefused: one key that a server refuses does not keep the others from being followed, and says
// what is wrong with it.
func TestRefused(t *testing.T) {
	s := newStreams(t)
	s.refuses = func(key string) bool { return key == "shop=bad" }
	c := newClient(t, client.Config{}, s.fake)
	var all []*client.Follower[client.Shop]
	for i := range 20 {
		name := fmt.Sprint(i)
		if i == 13 {
			name = "bad"
		}
		all = append(all, c.Shop(name).Follow())
	}
	for i, f := range all {
		if i == 13 {
			in(t, f, "it is invalid-name")
		} else {
			in(t, f, "d")
		}
	}
	all[13].Close()
	all[0].Close()
	in(t, c.Shop("later").Follow(), "d")
}

// TestFeedTooLong: a proxy that takes no long URLs gets shorter ones.
func TestFeedTooLong(t *testing.T) {
	s := newStreams(t)
	handle := s.handle
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		if len(r.URL.RawQuery) > 500 {
			http.Error(w, "<html>", http.StatusRequestURITooLong)
			return
		}
		handle(w, r)
	})
	c := newClient(t, client.Config{}, s.fake)
	for i := range 100 {
		f := c.Shop(fmt.Sprintf("shop-%d", i)).Follow()
		defer f.Close()
		defer func() {
			if _, err := f.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		}()
	}
}

// TestRefusedNowAndThen: keys that came together with one that is refused come together again with
// others.
func TestRefusedNowAndThen(t *testing.T) {
	s := newStreams(t)
	s.refuses = func(key string) bool { return strings.Contains(key, "bad") }
	c := newClient(t, client.Config{}, s.fake)
	const pairs = 32
	for i := range pairs {
		good, bad := c.Shop(fmt.Sprintf("good-%d", i)).Follow(), c.Shop(fmt.Sprintf("bad-%d", i)).Follow()
		defer good.Close()
		defer bad.Close()
		if _, err := good.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
	eventually(t, func() error {
		if sizes, _ := s.watched(); len(sizes) > pairs/2 {
			return fmt.Errorf("streams of %v keys", sizes)
		}
		return nil
	})
}
