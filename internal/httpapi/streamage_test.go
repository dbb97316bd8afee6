package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/httpapi"
	"magellan/internal/shops"
	"magellan/internal/shops/shopstest"
)

// agingReader is a Reader whose bad citizens and one shop are as old as told; the
// rest is new.
type agingReader struct {
	*shopstest.Reader
	old atomic.Bool
}

func (r *agingReader) age(meta discovery.Meta) discovery.Meta {
	if r.old.Load() {
		meta.Age, meta.Cache = 2*time.Hour, discovery.Stale
	}
	return meta
}

func (r *agingReader) Shop(ctx context.Context, name string, opt discovery.ReadOptions) (*shops.Home, discovery.Meta, error) {
	shop, meta, err := r.Reader.Shop(ctx, name, opt)
	if name == "42" {
		meta = r.age(meta)
	}
	return shop, meta, err
}

func (r *agingReader) Blocklist(ctx context.Context, opt discovery.ReadOptions) (*shops.Blocklist, discovery.Meta, error) {
	list, meta, err := r.Reader.Blocklist(ctx, opt)
	return list, r.age(meta), err
}

// countingReader counts how often the sets are asked for.
type countingReader struct {
	*shopstest.Reader
	topologies, blocklists atomic.Int64
}

func (r *countingReader) Topology(ctx context.Context, opt discovery.ReadOptions) (*shops.Topology, discovery.Meta, error) {
	r.topologies.Add(1)
	return r.Reader.Topology(ctx, opt)
}

func (r *countingReader) Blocklist(ctx context.Context, opt discovery.ReadOptions) (*shops.Blocklist, discovery.Meta, error) {
	r.blocklists.Add(1)
	return r.Reader.Blocklist(ctx, opt)
}

// TestStreamHeartbeatAsksOnce: however many keys are made of the topology or of the list
// of bad citizens, a heartbeat asks for those once.
func TestStreamHeartbeatAsksOnce(t *testing.T) {
	const keys, heartbeats = 50, 20
	var placements, addresses []string
	for i := range keys {
		placements = append(placements, fmt.Sprintf("placement=new-%d", i))
		addresses = append(addresses, fmt.Sprintf("bad-citizen=192.0.2.%d", i))
	}
	beat := func(query string) *countingReader {
		reader := &countingReader{Reader: newReader()}
		s, err := shops.New(shops.Config{Reader: reader, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, func(cfg *httpapi.Config) { cfg.Service, cfg.Heartbeat = s, 10*time.Millisecond })
		c := w.watch(query, "")
		for range strings.Count(query, "&") + 1 {
			c.expect("snapshot")
		}
		c.expect("synced")
		for range heartbeats {
			c.expect("age")
		}
		return reader
	}
	// Each heartbeat asks for the topology once to see whether there can be answers at
	// all. What is counted before the first one is less than five times for each key.
	r := beat("bad-citizens&bad-citizens-delta&" + strings.Join(addresses, "&"))
	if lists, all := r.blocklists.Load(), r.topologies.Load(); lists > all+5*keys {
		t.Errorf("%d heartbeats asked %d times for the list of bad citizens", all, lists)
	}
	r = beat("regions&region=us-east1&datacenters&bad-citizens&" + strings.Join(placements, "&"))
	if topologies, all := r.topologies.Load(), r.blocklists.Load(); topologies > 3*all+5*keys {
		t.Errorf("%d heartbeats asked %d times for the topology", all, topologies)
	}
}

// TestStreamAges: each heartbeat says how old the answers are that the client has, though none of
// them has changed.
func TestStreamAges(t *testing.T) {
	reader := &agingReader{Reader: newReader()}
	s, err := shops.New(shops.Config{Reader: reader, Now: func() time.Time { return now }, MaxStale: 3 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.Service, cfg.Heartbeat = s, 10*time.Millisecond })
	c := w.watch("regions&shop=42&bad-citizens&shop=43&shop=nope", "")
	want := func(ages string) {
		t.Helper()
		last := ""
		for last != ages {
			e, ok := c.next()
			if !ok || e.name != "age" {
				t.Fatalf("%+v; the last ages were %s, want %s", e, last, ages)
			}
			last = e.ages(t)
		}
	}
	for range 5 {
		c.expect("snapshot")
	}
	c.expect("synced")
	want(`"age":0}`)
	reader.old.Store(true)
	want(`"age":0,"others":{"shop=42":7200,"bad-citizens":7200}}`)
	// What may be read no more has no age. That is no change of the answer.
	reader.SetShopErr("43", fmt.Errorf("%w: away", discovery.ErrUnavailable))
	want(`"age":0,"others":{"shop=42":7200,"shop=43":null,"bad-citizens":7200}}`)
	// Ages that differ by little are told as one.
	reader.SetShopErr("43", nil)
	reader.old.Store(false)
	reader.SetStaleness(3*time.Second, discovery.Stale)
	want(`"age":3}`)
}

// TestStreamTooOld: a client is told that what it has is too old to be an answer, of
// those keys of which that is so, once; and what the answer is when there is one.
func TestStreamTooOld(t *testing.T) {
	reader := &agingReader{Reader: newReader()}
	s, err := shops.New(shops.Config{Reader: reader, MaxStale: time.Hour, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.Service, cfg.Heartbeat = s, 10*time.Millisecond })
	const query = "shop=42&shop=43&bad-citizens&bad-citizen=203.0.113.7"
	c := w.watch(query, "")
	was := map[string]string{}
	for range 4 {
		e := c.expect("snapshot").answer(t)
		was[e.Key] = string(e.Value)
	}
	c.expect("synced")
	had := c.last
	reader.old.Store(true)
	keys := map[string]bool{}
	for range 3 {
		a := c.expect("unavailable").answer(t)
		if a.Status != http.StatusServiceUnavailable || !strings.Contains(string(a.Problem), "problem:unavailable") || !strings.Contains(string(a.Problem), "2h0m0s ago") || a.ETag != "" {
			t.Errorf("%+v", a)
		}
		if target := map[string]string{"shop=42": "/v1/shops/42", "bad-citizens": "/v1/bad-citizens", "bad-citizen=203.0.113.7": "/v1/bad-citizens/203.0.113.7"}[a.Key]; w.get(target).StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s is answered", a.Key)
		}
		keys[a.Key] = true
	}
	if len(keys) != 3 || keys["shop=43"] {
		t.Errorf("too old: %v", keys)
	}
	// Once is enough.
	for range 5 {
		e, ok := c.next()
		if !ok || e.name != "age" || e.ages(t) != `"age":0,"others":{"shop=42":null,"bad-citizens":null,"bad-citizen=203.0.113.7":null}}` {
			t.Errorf("%+v", e)
		}
	}
	// Who comes back with what it had then is told as well.
	d := w.watch(query, had)
	for range 3 {
		d.expect("unavailable")
	}
	d.expect("synced")
	gone := c.last
	reader.old.Store(false)
	for range 3 {
		if a := c.expect("change").answer(t); a.Status != http.StatusOK || string(a.Value) != was[a.Key] {
			t.Errorf("%+v, want %s", a, was[a.Key])
		}
	}
	// And who had been told so has nothing of them.
	d = w.watch(query, gone)
	for range 3 {
		d.expect("snapshot")
	}
	d.expect("synced")
}

// TestStreamExpiry: what expires is told.
func TestStreamExpiry(t *testing.T) {
	w := newWorld(t, nil)
	w.setNow(now.Add(980 * time.Millisecond))
	c := w.watch("bad-citizens&bad-citizen=198.51.100.1", "")
	c.expect("snapshot")
	c.expect("snapshot")
	c.expect("synced")
	w.setNow(now.Add(time.Second))
	first, second := c.expectAnswer("change"), c.expectAnswer("change")
	if strings.Contains(first+second, "gone in a second") {
		t.Errorf("%s, %s", first, second)
	}
}
