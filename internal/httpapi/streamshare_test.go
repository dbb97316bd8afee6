package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/shops/shopstest"
)

// sharing is a Server whose placements are counted.
type sharing struct {
	t      *testing.T
	reader *shopstest.Reader
	server *Server
	http   *httptest.Server

	mu    sync.Mutex
	asked []string // the queries that were answered, in order
	now   int      // how many are being answered
	most  int
	slow  time.Duration // each
}

func newSharing(t *testing.T) *sharing {
	s := &sharing{t: t, reader: shopstest.New()}
	s.reader.SetRegion(shops.Region{Name: "us-east1", Open: true})
	s.change(0)
	s.server = serverOf(t, s.reader)
	route := s.server.watched["/v1/placement"]
	handle := route.handle
	route.handle = func(q *question, a *answer) error {
		s.mu.Lock()
		s.asked = append(s.asked, q.query.Encode())
		s.now++
		s.most = max(s.most, s.now)
		slow := s.slow
		s.mu.Unlock()
		time.Sleep(slow)
		err := handle(q, a)
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
		return err
	}
	s.http = httptest.NewServer(s.server)
	t.Cleanup(func() {
		s.http.CloseClientConnections()
		s.http.Close()
	})
	return s
}

// change is a write of a datacenter's count of assigned shops.
func (s *sharing) change(assigned int) {
	s.reader.SetDatacenter(shops.Datacenter{Name: "ash1", Region: "us-east1", Capacity: 1000, Assigned: int64(assigned), Open: true})
}

// counts returns what has been asked since the last call, and how much of it at most
// at the same time.
func (s *sharing) counts() (asked []string, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked, most = s.asked, s.most
	s.asked, s.most = nil, 0
	return asked, most
}

// watch opens a stream of placements, and returns a function that waits for so many
// events of a name and returns their values by key.
func (s *sharing) watch(names ...string) func(event string, n int) map[string]string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	s.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.http.URL+"/v1/watch?placement="+strings.Join(names, "&placement="), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { res.Body.Close() })
	lines := bufio.NewScanner(res.Body)
	return func(event string, n int) map[string]string {
		s.t.Helper()
		values := make(map[string]string)
		for last := ""; len(values) < n && lines.Scan(); {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				last = name
			} else if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && last == event {
				key, value, _ := strings.Cut(data, `,"status":200,`)
				values[key] = value
			}
		}
		if len(values) < n {
			s.t.Fatalf("%d of %d events: %v", len(values), n, lines.Err())
		}
		return values
	}
}

func newShops(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("new-%d", i)
	}
	return names
}

// TestStreamsShare: a placement that many streams watch is computed once for each
// change, and each of them is told what it would be told alone.
func TestStreamsShare(t *testing.T) {
	s := newSharing(t)
	const streams, keys = 6, 50
	names := newShops(keys)
	var next []func(string, int) map[string]string
	for range streams {
		next = append(next, s.watch(names...))
		next[len(next)-1]("snapshot", keys)
	}
	s.counts()
	for change := range 3 {
		s.change(change + 1)
		for _, stream := range next {
			for key, value := range stream("change", keys) {
				_, name, _ := strings.Cut(strings.TrimSuffix(key, `"`), "placement=")
				placement, meta, err := s.server.service.Place(t.Context(), shops.PlacementRequest{Shop: name}, discovery.ReadOptions{})
				if err != nil {
					t.Fatal(err)
				}
				body := appendPlacement(nil, &placement)
				want := fmt.Sprintf(`"etag":%q,"zxid":"0x%x","cache":"HIT","age":0,"value":%s}`, string(appendETag(nil, hashOf(body))), meta.Zxid, strings.TrimSpace(string(body)))
				if _, value, _ := strings.Cut(value, ","); value != want { // without its time
					t.Fatalf("%s:\n got %s\nwant %s", key, value, want)
				}
			}
		}
		asked, _ := s.counts()
		if slices.Sort(asked); len(asked) != keys || len(slices.Compact(asked)) != keys {
			t.Errorf("%d placements were computed for %d keys", len(asked), keys)
		}
	}
	if n := s.server.shared.bytes.Load(); n <= 0 || n > maxSharedBytes {
		t.Errorf("%d bytes are kept", n)
	}
	s.http.CloseClientConnections()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		s.server.shared.mu.Lock()
		left := len(s.server.shared.asked)
		s.server.shared.mu.Unlock()
		if n := s.server.shared.bytes.Load(); left == 0 && n == 0 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%d questions and %d bytes are left of streams that have ended", left, n)
		}
	}
}

// TestStreamsTakeTurns: streams that have much to compute leave processors to others,
// and one with little is not behind one with much.
func TestStreamsTakeTurns(t *testing.T) {
	s := newSharing(t)
	const streams, keys = 8, 10
	var next []func(string, int) map[string]string
	for i := range streams {
		names := newShops(keys)
		for k := range names {
			names[k] += fmt.Sprintf("-of-%d", i)
		}
		next = append(next, s.watch(names...))
		next[i]("snapshot", keys)
	}
	little := s.watch("little")
	little("snapshot", 1)
	s.counts()
	s.mu.Lock()
	s.slow = 10 * time.Millisecond // so that all of them come before the first is done
	s.mu.Unlock()
	s.change(1)
	little("change", 1)
	asked, most := s.counts()
	if at := slices.Index(asked, "shop=little"); at < 0 || at >= streams*keys/2 {
		t.Errorf("the stream with one key came as number %d of %d", at, streams*keys)
	}
	for _, stream := range next {
		stream("change", keys)
	}
	if _, later := s.counts(); max(most, later) > cap(s.server.shared.turns) {
		t.Errorf("%d at the same time, want %d", max(most, later), cap(s.server.shared.turns))
	}
}

// TestSharedBound: what streams share takes no more memory than there is for it; what
// has no room is computed for each of them.
func TestSharedBound(t *testing.T) {
	s := newSharing(t)
	names := newShops(4)
	one, other := s.watch(names...), s.watch(names...)
	one("snapshot", 4)
	other("snapshot", 4)
	s.server.shared.bytes.Add(maxSharedBytes)
	s.counts()
	s.change(1)
	one("change", 4)
	other("change", 4)
	if asked, _ := s.counts(); len(asked) != 8 {
		t.Errorf("%d placements were computed", len(asked))
	}
	s.server.shared.bytes.Add(-maxSharedBytes)
}
