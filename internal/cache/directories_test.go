package cache

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

func TestTopologyFollows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(Config{})
	expect := func(what string, ok func(*shops.Topology) bool) {
		t.Helper()
		w.eventually(func() string {
			topology, meta, err := c.Topology(w.soon(), discovery.ReadOptions{})
			w.must(err)
			if meta.Cache != discovery.Hit || !ok(topology) {
				return fmt.Sprintf("%s: %v, regions %+v, datacenters %+v", what, meta.Cache, topology.Regions(), topology.Datacenters())
			}
			return ""
		})
	}
	has := func(name string, assigned int64) func(*shops.Topology) bool {
		return func(topology *shops.Topology) bool {
			d, ok := topology.Datacenter(name)
			return ok && d.Assigned == assigned
		}
	}
	expect("at first", has("ash1", 10))
	zxid := w.datacenter("ash1", "us-east1", 11)
	expect("changed", has("ash1", 11))
	if topology, meta, _ := c.Topology(w.soon(), discovery.ReadOptions{}); topology.Zxid() < zxid || meta.Zxid != topology.Zxid() {
		t.Errorf("zxid %d (%d), want at least %d", topology.Zxid(), meta.Zxid, zxid)
	}
	w.datacenter("new", "us-east1", 1)
	expect("added", has("new", 1))
	w.delete(layout.Datacenter("new"))
	expect("deleted", func(topology *shops.Topology) bool { _, ok := topology.Datacenter("new"); return !ok })
	w.datacenter("new", "us-east1", 2)
	expect("added again", has("new", 2))
	w.delete(layout.Datacenter("ash2"))
	w.datacenter("ash2", "us-east1", 21)
	expect("deleted and added", has("ash2", 21))

	w.put(layout.Datacenter("ash1"), `not json`)
	w.eventually(func() string {
		if _, ok := c.problems.get(layout.Datacenter("ash1")); !ok {
			return "no problem is shown"
		}
		return ""
	})
	expect("broken", has("ash1", 11))
	w.datacenter("ash1", "us-east1", 12)
	expect("mended", has("ash1", 12))
	w.noProblems()
}

// TestTopologyUnderManyChanges: every datacenter changes many times at once;
// what is left in the end is what was written last.
func TestTopologyUnderManyChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(Config{})
	const datacenters, rounds = 50, 20
	for round := range rounds {
		var writing sync.WaitGroup
		for i := range datacenters {
			writing.Go(func() { w.datacenter(fmt.Sprint("dc-", i), "us-east1", round) })
		}
		writing.Wait()
	}
	w.eventually(func() string {
		topology, meta, err := c.Topology(w.soon(), discovery.ReadOptions{})
		w.must(err)
		for i := range datacenters {
			if d, ok := topology.Datacenter(fmt.Sprint("dc-", i)); !ok || d.Assigned != rounds-1 || meta.Cache != discovery.Hit {
				return fmt.Sprintf("%+v, %v", d, meta.Cache)
			}
		}
		return ""
	})
}

// TestTopologyUnderEndlessChanges: by the time that a snapshot is built there is
// always another change. Its age must not grow for that, and who asks for what
// ZooKeeper holds now must not wait for an end of it.
func TestTopologyUnderEndlessChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(Config{})
	v := c.topology
	c.building.Store(new(func() { v.change(func() {}) }))
	v.change(func() {})
	for i := range 5 {
		w.datacenter("ash1", "us-east1", 100+i)
		topology, _, err := c.Topology(w.soon(), discovery.ReadOptions{Fresh: true})
		w.must(err)
		if d, _ := topology.Datacenter("ash1"); d.Assigned != int64(100+i) {
			t.Errorf("after the write of %d: %+v", 100+i, d)
		}
	}
	first := v.dirty.Load()
	w.eventually(func() string {
		if v.dirty.Load() <= first {
			return "the age grows"
		}
		return ""
	})
}

func TestBlocklistFollows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open(Config{})
	now := time.Now()
	expect := func(ip string, listed bool) {
		t.Helper()
		w.eventually(func() string {
			list, _, err := c.Blocklist(w.soon(), discovery.ReadOptions{})
			w.must(err)
			if _, ok := list.Lookup(netip.MustParseAddr(ip), now); ok != listed {
				return fmt.Sprintf("%s listed: %v, want %v", ip, ok, listed)
			}
			return ""
		})
	}
	a, b := layout.BadCitizenList("a"), layout.BadCitizenList("b")
	expect("203.0.113.1", false)
	w.put(a, "203.0.113.0/24\n")
	expect("203.0.113.1", true)
	w.put(b, "203.0.113.1 reason=\"twice\"\nwhat is this\n")
	w.eventually(func() string {
		if p, ok := c.problems.get(b); !ok || p.ServedZxid != p.Zxid {
			return fmt.Sprintf("a bad line is no problem: %+v", p)
		}
		return ""
	})
	w.delete(a)
	expect("203.0.113.2", false)
	expect("203.0.113.1", true)
	w.delete(b)
	expect("203.0.113.1", false)
	w.noProblems()
}

// TestNoRoot: a root that does not exist is said at once, and it may come into
// being later.
func TestNoRoot(t *testing.T) {
	w := &world{T: t, server: zktest.Start(t)}
	w.zk = w.client(zk.Config{Servers: []string{w.server.Addr()}})
	c := w.openUnready(Config{})
	if err := c.WaitReady(w.soon()); !errors.Is(err, ErrNoRoot) {
		t.Fatalf("got %v, want ErrNoRoot", err)
	}
	if _, _, err := c.Topology(w.soon(), discovery.ReadOptions{}); !errors.Is(err, discovery.ErrUnavailable) {
		t.Errorf("topology: %v", err)
	}
	w.put(layout.Root, "")
	w.eventually(func() string {
		if err := c.WaitReady(w.soon()); err != nil {
			return err.Error()
		}
		return ""
	})
	// The directories below may come later still.
	w.datacenter("ash1", "us-east1", 1)
	w.eventually(func() string {
		topology, _, err := c.Topology(w.soon(), discovery.ReadOptions{})
		w.must(err)
		if len(topology.Datacenters()) != 1 {
			return "the datacenter is not seen"
		}
		return ""
	})
}

func TestNoServer(t *testing.T) {
	w := &world{T: t}
	c := w.openUnready(Config{ZooKeeper: zk.Config{Servers: []string{"127.0.0.1:1"}}})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := c.WaitReady(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, discovery.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// TestDeniedChild: no event tells when a znode that may not be read may be read.
// Both a member and a whole set are shown as a problem, asked for again, and no
// drift.
func TestDeniedChild(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ash3, lists := layout.Datacenter("ash3"), layout.BadCitizensDir()
	_, _, err := w.zk.Create(w.soon(), ash3, []byte(`{"region":"us-east1","capacity":1,"assigned":0,"open":true}`), zk.CreateOptions{ACL: hidden})
	w.must(err)
	w.hide(lists)
	c := w.openUnready(Config{AuditRate: 10})
	for _, path := range []string{ash3, lists} {
		w.eventually(func() string {
			if p, ok := c.problems.get(path); !ok || !strings.Contains(p.Error, "not permitted") {
				return fmt.Sprintf("%s: problems %+v", path, c.Problems())
			}
			return ""
		})
	}
	w.show(lists)
	w.must(c.WaitReady(w.soon()))
	w.answers(0).expect("datacenters: unread", "datacenter ash1: HIT", "bad: HIT")
	w.show(ash3)
	w.expectDatacenters(3, discovery.Hit)
	zxid := w.datacenter("ash3", "us-east1", 7) // and it is watched
	w.eventually(func() string {
		if topology, _, err := c.Topology(w.soon(), discovery.ReadOptions{}); err != nil || topology.Zxid() != zxid {
			return fmt.Sprintf("the topology is of %d and not of %d", topology.Zxid(), zxid)
		}
		return ""
	})
	if p := c.Problems(); len(p) > 0 || w.drift() != 0 {
		t.Errorf("problems left: %+v; %v drifts", p, w.drift())
	}
	// What was held when the permission was taken is served, and the problem says so.
	w.hide(ash3)
	w.must(w.server.Expire(c.views.session.client.SessionCredentials()))
	w.eventually(func() string {
		if p, ok := c.problems.get(ash3); !ok || p.ServedZxid != zxid {
			return fmt.Sprintf("the problem is %+v, want what %d wrote served", p, zxid)
		}
		return ""
	})
}

// TestNewMemberLagsAsItsListDid: a list that came into being while its set was not
// known lacks in what is served since then, whatever is noticed of others later.
func TestNewMemberLagsAsItsListDid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(layout.BadCitizenList("a"), "203.0.113.1\n")
	c := w.open(Config{})
	w.must(w.server.Pause()) // what is to be read stays unread
	defer w.server.Resume()
	s := c.sets()[2]
	v := s.v
	v.outdate(s.unlist)
	v.mu.Lock()
	s.lag.since -= instant(10 * time.Second)
	since := s.lag.since
	v.mu.Unlock()
	s.onList([]string{"a", "b"}, s.pzxid+1)
	s.read("a") // changed after that
	v.mu.Lock()
	most, behind := v.behind()
	v.mu.Unlock()
	if !behind || most.since != since {
		t.Errorf("it lags since %v (%v), want %v", most.since, behind, since)
	}
	w.eventually(func() string {
		if _, meta, err := c.Blocklist(w.soon(), discovery.ReadOptions{}); err != nil || meta.Age < 10*time.Second {
			return fmt.Sprintf("%+v, %v", meta, err)
		}
		return ""
	})
}
