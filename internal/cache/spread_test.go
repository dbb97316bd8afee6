package cache

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/discovery"
	"magellan/internal/zk"
	"magellan/internal/zk/zkmetrics"
)

// within wants no session to carry more than its budget.
func (w *world) within() {
	w.Helper()
	for _, s := range w.cache.sessions.list() {
		if got, most := s.reserved.Load(), w.cache.cfg.watchBudget; got > most || got < 0 {
			w.Errorf("the watches of session %d take %d of %d bytes", s.number, got, most)
		}
	}
}

// TestMembersAreSpread: members whose watches do not fit into the first session are
// carried by others, and are as well known.
func TestMembersAreSpread(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const members = 60
	name := func(i int) string { return fmt.Sprintf("dc-%d-%s", i, strings.Repeat("x", 100)) }
	for i := range members {
		w.datacenter(name(i), "us-east1", 1)
	}
	const budget = 3000 // for about 15 of them, beside the directories
	c := w.open(Config{watchBudget: budget, ShrinkGuard: DefaultShrinkGuard})
	a := w.answers(0)
	w.expectDatacenters(members+2, discovery.Hit)
	w.within()
	all := c.sessions.list()
	if len(all) < 3 {
		t.Fatalf("%d sessions", len(all))
	}
	v := c.topology
	on := func(i int) *session {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.sets[1].nodes[name(i)].on
	}
	var far int // one that is on another session
	for on(far) == all[0] {
		far++
	}
	follows := func(what string, assigned int) {
		t.Helper()
		for i := range members {
			w.datacenter(name(i), "us-east1", assigned)
		}
		w.eventually(func() string {
			topology, meta, err := c.Topology(w.soon(), discovery.ReadOptions{})
			w.must(err)
			for i := range members {
				if d, ok := topology.Datacenter(name(i)); !ok || d.Assigned != int64(assigned) || meta.Cache != discovery.Hit {
					return fmt.Sprintf("%s: %+v, %v", what, d, meta)
				}
			}
			return ""
		})
		w.within()
	}
	follows("at first", 2)
	// What was written is read, by whichever session.
	for i := range 5 {
		for _, opt := range []discovery.ReadOptions{{Fresh: true}, {MinZxid: w.datacenter(name(far), "us-east1", 100+i)}} {
			d, meta, err := a.Datacenter(w.soon(), name(far), opt)
			if err != nil || d.Assigned != int64(100+i) && !opt.Fresh || meta.Zxid < opt.MinZxid {
				t.Errorf("%+v: %+v, %+v, %v", opt, d, meta, err)
			}
		}
	}
	w.must(w.server.Restart()) // and each session's watches are set again in one request
	w.must(w.zk.WaitReady(w.soon()))
	follows("after a restart", 3)
	w.must(w.server.Expire(on(far).client.SessionCredentials()))
	follows("after an expired session", 4)
	for range 10 {
		w.delete(layout.Datacenter(name(far)))
		w.datacenter(name(far), "us-east1", 9)
	}
	a.expect("datacenter " + name(far) + ": HIT")
	w.delete(layout.Datacenter(name(far)))
	w.expectDatacenters(members+1, discovery.Hit)
	a.expect("datacenter " + name(far) + ": 404")
	w.datacenter(name(far), "us-east1", 5)
	follows("after one was deleted", 6)
	// Shops and members share the room.
	for i := range 40 {
		w.shop(fmt.Sprint(i, strings.Repeat("y", 100)), "ash1")
		w.ask(fmt.Sprint(i, strings.Repeat("y", 100)))
	}
	for i := range 20 {
		w.datacenter(name(members+i), "us-east1", 1)
	}
	w.expectDatacenters(members+2+20, discovery.Hit)
	w.within()
	if w.drift() != 0 || len(c.Problems()) > 0 {
		t.Errorf("%v drifts, problems %+v", w.drift(), c.Problems())
	}
	for i := range members + 20 {
		w.delete(layout.Datacenter(name(i)))
	}
	// The guard trips again for what is seen to go after it was told that this is meant.
	w.eventually(func() string {
		c.Accept(layout.DatacentersDir())
		if n, meta := w.datacenters(); n != 2 || meta.Cache != discovery.Hit {
			return fmt.Sprintf("%d datacenters (%v), want 2", n, meta.Cache)
		}
		return ""
	})
	w.within()
}

// TestSpreadMembersGoTogether: that many members have gone is found out by their
// sessions, one by one, and which are left is read a few times only.
func TestSpreadMembersGoTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const members = 200
	var create, remove []zk.Op
	for i := range members {
		path := layout.Datacenter(fmt.Sprintf("dc-%d-%s", i, strings.Repeat("x", 50)))
		create = append(create, zk.CreateOp(path, []byte(`{"region":"us-east1","capacity":1,"assigned":1,"open":true}`), zk.CreateOptions{}))
		remove = append(remove, zk.DeleteOp(path, zk.AnyVersion))
	}
	_, err := w.zk.Multi(w.soon(), create...)
	w.must(err)
	registry := prometheus.NewRegistry()
	observer, err := zkmetrics.New(registry)
	w.must(err)
	c := w.open(Config{watchBudget: 9000, ZooKeeper: zk.Config{Observer: observer}})
	w.expectDatacenters(members+2, discovery.Hit)
	if n := len(c.sessions.list()); n < 3 {
		t.Fatalf("%d sessions", n)
	}
	before := requests(t, registry, "children")
	_, err = w.zk.Multi(w.soon(), remove...)
	w.must(err)
	w.expectDatacenters(2, discovery.Hit)
	if n := requests(t, registry, "children") - before; n > members/4 {
		t.Errorf("the children were read %d times when %d went at once", n, members)
	}
}

// TestNoRoomForMembers: where no session has room for the watch of a member, that is
// said of it, and the others are known.
func TestNoRoomForMembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill()
	long := strings.Repeat("x", 200)
	w.datacenter(long, "us-east1", 1)
	cost := int64(0)
	for _, path := range []string{layout.Root, layout.RegionsDir(), layout.DatacentersDir(), layout.BadCitizensDir()} {
		cost += 2 * int64(zk.WatchCost(path))
	}
	w.open(Config{watchBudget: cost + 200, MaxSessions: 1})
	a := w.answers(0)
	a.expect("datacenter ash1: HIT", "datacenter "+long+": unread", "datacenters: unread", "shop 42: MISS")
	w.neverRead(layout.Datacenter(long))
	if p := w.cache.Problems(); len(p) != 1 || !strings.Contains(p[0].Error, "not watched") {
		t.Errorf("%+v", p)
	}
	w.within()
	w.delete(layout.Datacenter(long))
	a.expect("datacenters: HIT")
	w.neverRead()
}

// TestDirectoriesAreSpread: the views' directories do not fit into the first session either.
// No session carries more than its budget, and all watches come back after a reconnect.
func TestDirectoriesAreSpread(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill()
	topology := int64(0)
	for _, path := range []string{layout.RegionsDir(), layout.DatacentersDir()} {
		topology += listingCost(path)
	}
	c := w.open(Config{watchBudget: topology, ShrinkGuard: DefaultShrinkGuard})
	a := w.answers(0)
	all := c.sessions.list()
	if len(all) < 3 || c.topology.session == all[0] || c.blocklist.session != all[0] {
		t.Fatalf("%d sessions; the topology is on %d, the lists on %d", len(all), c.topology.session.number, c.blocklist.session.number)
	}
	follows := func(what string, i int) {
		t.Helper()
		w.datacenter("ash1", "us-east1", i)
		w.datacenter(fmt.Sprint("new", i), "us-east1", 1)
		w.put(layout.BadCitizenList("fraud"), fmt.Sprintf("192.0.2.%d", i))
		w.eventually(func() string {
			topology, meta, err := c.Topology(w.soon(), discovery.ReadOptions{})
			w.must(err)
			d, _ := topology.Datacenter("ash1")
			if _, is := topology.Datacenter(fmt.Sprint("new", i)); !is || d.Assigned != int64(i) || meta.Cache != discovery.Hit {
				return fmt.Sprintf("%s: %+v, %v, %v", what, d, is, meta)
			}
			return ""
		})
		a.expect(fmt.Sprintf("ip 192.0.2.%d: listed HIT", i))
		w.within()
	}
	follows("at first", 1)
	w.must(w.server.Restart())
	w.must(w.zk.WaitReady(w.soon()))
	follows("after a restart", 2)
	w.expire(c.topology.session)
	follows("after an expired session", 3)
	w.expire(c.blocklist.session)
	follows("after the other one", 4)
	if n := len(c.Problems()); n != 0 || w.drift() != 0 {
		t.Errorf("%d problems, %v drifts", n, w.drift())
	}

	// Where no session has room for a view, that is said at once.
	tiny, err := newMirror(Config{watchBudget: topology - 1, Logger: quiet, ZooKeeper: zk.Config{Servers: []string{w.server.Addr()}, Logger: quiet}})
	w.must(err)
	if err := tiny.Start(); err == nil || !strings.Contains(err.Error(), "sessions") {
		t.Errorf("a view for which no session has room: %v", err)
	}
}

// TestRoomInPieces: each session has some room, none has enough for one more watch, and all of
// them together have a lot.
func TestRoomInPieces(t *testing.T) {
	path := layout.Shop("42")
	cost := watchCost(path)
	m, err := newMirror(Config{watchBudget: 2 * cost, MaxSessions: 3, Logger: quiet, ZooKeeper: zk.Config{Servers: []string{"127.0.0.1:1"}, Logger: quiet}})
	if err != nil {
		t.Fatal(err)
	}
	full := []*session{m.newSession(0), m.newSession(1)}
	for _, s := range full {
		s.reserved.Store(cost + 1)
	}
	m.sessions.all.Store(&full)
	s, err := m.sessions.reserve(m.Cache, path)
	if err != nil {
		t.Fatalf("with %d bytes left of each session, and room for one more session: %v", cost-1, err)
	}
	defer s.close()
	if s.number != 2 || s.reserved.Load() != cost {
		t.Errorf("session %d, of which %d bytes are taken", s.number, s.reserved.Load())
	}
	// What no session could ever carry opens none.
	if _, err := m.sessions.reserve(m.Cache, layout.Shop(strings.Repeat("x", int(3*cost)))); !errors.Is(err, errNoRoom) || len(m.sessions.list()) != 3 {
		t.Errorf("a watch larger than the budget: %v, %d sessions", err, len(m.sessions.list()))
	}
}
