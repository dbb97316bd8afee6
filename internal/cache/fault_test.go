package cache

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
)

// answers asks a Service above the cache, as HTTP does.
type answers struct {
	*world
	*shops.Service
}

func (w *world) answers(maxStale time.Duration) answers {
	w.Helper()
	s, err := shops.New(shops.Config{Reader: &w.cache.Mirrors, MaxStale: maxStale})
	w.must(err)
	return answers{w, s}
}

// route asks for what a path stands for, and says the answer in words: what X-Cache
// would say, and unread, 404, 502 or 503 where there is none.
func (a answers) route(path string, opt discovery.ReadOptions) (string, discovery.Meta, error) {
	a.Helper()
	var basis discovery.Basis
	var err error
	said := ""
	kind, name, _ := strings.Cut(path, " ")
	switch kind {
	case "shop":
		_, basis, err = a.Shop(a.soon(), name, opt)
	case "lookup":
		out := make([]shops.ShopResult, 1)
		if basis.Meta, err = a.Lookup(a.soon(), []string{name}, opt, out); err == nil {
			basis.Meta, err = out[0].Meta, out[0].Err
		}
	case "region":
		_, basis, err = a.Region(a.soon(), name, opt)
	case "regions":
		_, basis, err = a.Regions(a.soon(), opt)
	case "datacenter":
		_, basis, err = a.Datacenter(a.soon(), name, opt)
	case "datacenters":
		_, basis, err = a.Datacenters(a.soon(), opt)
	case "placement":
		_, basis, err = a.Place(a.soon(), shops.PlacementRequest{Shop: "new"}, opt)
	case "bad":
		_, basis, err = a.BadCitizens(a.soon(), opt)
	case "ip":
		var answer shops.BadCitizenAnswer
		if answer, basis, err = a.BadCitizen(a.soon(), name, opt); err == nil {
			said = map[bool]string{true: "listed ", false: "free "}[answer.Listed]
		}
	default:
		a.Fatalf("no route %q", path)
	}
	meta := basis.Meta
	switch {
	case err == nil:
		return said + meta.Cache.String(), meta, nil
	case errors.Is(err, discovery.ErrUnread):
		return "unread", meta, err
	case errors.Is(err, discovery.ErrUnavailable):
		return "503", meta, err
	case errors.Is(err, discovery.ErrNotFound):
		return "404", meta, err
	case errors.Is(err, discovery.ErrBadData):
		return "502", meta, err
	case errors.Is(err, shops.ErrNoCapacity):
		return "no capacity", meta, err
	}
	return err.Error(), meta, err
}

// expect asks for each path until all answers are as they should be at once: "path: answer".
func (a answers) expect(want ...string) {
	a.Helper()
	a.eventually(func() string {
		for _, one := range want {
			path, answer, _ := strings.Cut(one, ": ")
			if got, meta, err := a.route(path, discovery.ReadOptions{}); got != answer {
				return fmt.Sprintf("%s is %s, want %s; %+v, %v; problems %+v", path, got, answer, meta, err, a.cache.Problems())
			}
		}
		return ""
	})
}

// names asks for a path that has no answer, and wants the znode and the remedy named.
func (a answers) names(path, znode string) {
	a.Helper()
	if _, _, err := a.route(path, discovery.ReadOptions{}); err == nil || !strings.Contains(err.Error(), "/admin/accept"+znode) {
		a.Errorf("%s: %v: want the remedy for %s", path, err, znode)
	}
}

func (w *world) neverRead(want ...string) {
	w.Helper()
	if got := w.cache.NeverRead(); !slices.Equal(got, want) {
		w.Errorf("never read: %v, want %v", got, want)
	}
}

// fill makes a world with one shop in each datacenter and a list.
func (w *world) fill() {
	w.Helper()
	w.shop("42", "ash1")
	w.shop("43", "ash2")
	w.put(layout.BadCitizenList("good"), "203.0.113.1\n")
}

// TestNeverRead: a znode that exists and could never be read is not told as absent:
// by no answer that would need it, and no other answer is held up by it.
func TestNeverRead(t *testing.T) {
	t.Parallel()
	list, region, datacenter := layout.BadCitizenList("bad"), layout.Region("us-west1"), layout.Datacenter("sea1")
	lists := []string{"bad: %s", "ip 203.0.113.1: listed HIT", "ip 203.0.113.2: free %s"}
	regions := []string{"regions: %s", "region us-west1: %s", "region us-east1: HIT", "region none: 404", "placement: %s"}
	datacenters := []string{"datacenters: %s", "datacenter sea1: %s", "datacenter ash1: HIT", "datacenter none: 404", "placement: %s", "shop 50: %s", "lookup 50: %s"}
	for _, tt := range []struct {
		name, path string
		broken     string // its data; empty where it may not be read
		whole      string
		affected   []string
	}{
		{"a list that may not be read", list, "", "203.0.113.9\n", lists},
		{"a list of which no line parses", list, "203.0.113.0/33\n", "203.0.113.9\n", lists},
		{"a region that may not be read", region, "", `{"open":true}`, regions},
		{"a region that does not parse", region, "{", `{"open":true}`, regions},
		{"a datacenter that may not be read", datacenter, "", `{"region":"us-east1","capacity":9,"assigned":1,"open":true}`, datacenters},
		{"a datacenter that does not parse", datacenter, `{"region":7}`, `{"region":"us-east1","capacity":9,"assigned":1,"open":true}`, datacenters},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.fill()
			w.shop("50", "sea1")
			if tt.broken != "" {
				w.put(tt.path, tt.broken)
			} else {
				w.put(tt.path, tt.whole)
				// As by a digest of somebody else: the parents are open.
				owner := w.client(zk.Config{Servers: []string{w.server.Addr()}, Auth: []zk.Credential{{Scheme: "digest", Data: "alice:secret"}}})
				w.must(owner.SetACL(w.soon(), tt.path, []zk.ACL{{Perms: zk.PermAll, Scheme: "auth"}}, -1))
				w.zk = owner
			}
			c := w.open(Config{ZooKeeper: zk.Config{Auth: []zk.Credential{{Scheme: "digest", Data: "alice:WRONG"}}}})
			a := w.answers(0)
			w.neverRead(tt.path)
			others := []string{"shop 42: HIT", "lookup 43: HIT", "shop none: 404", "datacenter ash2: HIT", "ip 203.0.113.1: listed HIT"}
			a.expect(others...) // the first of a shop is a MISS
			for _, one := range tt.affected {
				one = strings.ReplaceAll(strings.ReplaceAll(one, "free %s", "%s"), "%s", "unread")
				a.expect(one)
				if path, answer, _ := strings.Cut(one, ": "); answer == "unread" {
					a.names(path, tt.path)
					for _, opt := range []discovery.ReadOptions{{Fresh: true}, {MinZxid: 1}, {MaxAge: time.Second}, {StaleIfError: time.Hour}} {
						if got, _, err := a.route(path, opt); got != "unread" {
							t.Errorf("%s with %+v: %s, %v", path, opt, got, err)
						}
					}
				}
			}
			if _, ok := c.Age(); ok {
				t.Error("the sets are said to be known")
			}
			if x, ok := c.Explain(tt.path); !ok || x.Held || !strings.Contains(x.Value, "never been read") || x.Problem == nil {
				t.Errorf("%+v", x)
			}

			// Mended, it is like any other.
			w.put(tt.path, tt.whole)
			if tt.broken == "" {
				w.show(tt.path)
			}
			for _, one := range tt.affected {
				a.expect(strings.ReplaceAll(one, "%s", "HIT"))
			}
			w.neverRead()
			w.noProblems()
			if _, ok := c.Age(); !ok {
				t.Error("the sets are not said to be known")
			}
		})
	}
}

// TestAcceptTheUnreadable: an operator goes on without a member, for what it holds then.
func TestAcceptTheUnreadable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill()
	list, dc := layout.BadCitizenList("bad"), layout.Datacenter("sea1")
	w.put(list, "203.0.113.0/33\n")
	w.put(dc, "?")
	w.hide(dc)
	w.shop("50", "sea1")
	file := filepath.Join(t.TempDir(), "snapshot")
	c := w.open(Config{Snapshot: file})
	a := w.answers(0)
	w.neverRead(list, dc)
	if c.Accept(layout.BadCitizenList("good")) || c.Accept(layout.BadCitizenList("none")) {
		t.Error("there was nothing to accept")
	}
	for _, path := range []string{list, dc} {
		if !c.Accept(path) || c.Accept(path) {
			t.Errorf("%s is not accepted, or twice", path)
		}
	}
	w.neverRead()
	without := []string{"bad: HIT", "ip 203.0.113.2: free HIT", "datacenters: HIT", "placement: HIT", "datacenter sea1: 502", "shop 50: 502"}
	a.expect(without...)
	if len(c.Problems()) != 2 {
		t.Errorf("what was accepted is still to be seen: %+v", c.Problems())
	}
	// A restart does not forget it.
	w.must(c.Close())
	w.open(Config{Snapshot: file})
	a = w.answers(0)
	a.expect(without...)
	w.neverRead()
	// Other bytes that cannot be read are another matter. All was known before them.
	w.put(list, "203.0.113.0/34\n")
	w.put(dc, "!")
	a.expect("bad: STALE", "ip 203.0.113.1: listed HIT", "ip 203.0.113.2: free STALE", "datacenters: STALE", "datacenter sea1: unread", "shop 50: unread")
	w.neverRead()
	for _, path := range []string{list, dc} {
		w.eventually(w.accepts(path))
	}
	a.expect(without...)
	w.put(list, "203.0.113.9\n")
	a.expect("ip 203.0.113.9: listed HIT", "bad: HIT")
}

// TestUnreadLater: a member that is new and cannot be read takes nothing down at
// once: what was known last is served, as old as it is, and for no longer than that.
func TestUnreadLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill()
	w.open(Config{})
	a := w.answers(0)
	a.expect("bad: HIT", "datacenters: HIT", "shop 42: HIT")
	list, dc := layout.BadCitizenList("bad"), layout.Datacenter("sea1")
	w.put(list, "203.0.113.0/33\n")
	w.put(dc, "{}")
	w.shop("50", "sea1")
	a.expect("bad: STALE", "ip 203.0.113.1: listed HIT", "ip 203.0.113.2: free STALE",
		"datacenters: STALE", "placement: STALE", "datacenter ash1: HIT", "datacenter sea1: unread", "shop 50: unread", "shop 42: HIT", "regions: STALE")
	a.names("datacenter sea1", dc)
	w.neverRead()
	// The others are followed.
	w.put(layout.BadCitizenList("good"), "203.0.113.1\n203.0.113.2\n")
	a.expect("bad: STALE", "ip 203.0.113.2: listed HIT")
	// Its age grows, and readiness goes by that of the others.
	const old = 3 * time.Second
	w.eventually(func() string {
		if _, meta, err := a.route("bad", discovery.ReadOptions{}); err != nil || meta.Age < old {
			return fmt.Sprintf("%+v, %v", meta, err)
		}
		if age, ok := w.cache.ReadyAge(); !ok || age >= old {
			return fmt.Sprintf("readiness goes by an age of %v", age)
		}
		return ""
	})
	strict := w.answers(old)
	strict.expect("bad: 503", "ip 203.0.113.3: 503", "ip 203.0.113.1: listed HIT", "datacenters: 503", "placement: 503", "shop 42: HIT", "datacenter ash1: HIT")
	strict.names("bad", list)
	w.delete(list)
	w.put(dc, `{"region":"us-east1","capacity":9,"assigned":1,"open":true}`)
	strict.expect("bad: HIT", "datacenters: HIT", "datacenter sea1: HIT", "shop 50: HIT", "placement: HIT")
}

// TestChildThatNoLongerParses: what cannot be read any more is served as it was and
// is no hit, like a shop; nor is what is made of it, and all else is.
func TestChildThatNoLongerParses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill()
	list := layout.BadCitizenList("bad")
	w.put(list, "198.51.100.1\n")
	w.open(Config{})
	a := w.answers(0)
	made := []string{"bad: %s", "ip 198.51.100.1: listed %s", "ip 198.51.100.2: free %s",
		"region us-east1: %s", "regions: %s", "datacenter ash1: %s", "datacenters: %s", "shop 42: %s", "lookup 42: %s", "placement: %s"}
	others := []string{"ip 203.0.113.1: listed HIT", "datacenter ash2: HIT", "shop 43: HIT", "lookup 43: HIT"}
	expect := func(status string) {
		t.Helper()
		var want []string
		for _, one := range made {
			want = append(want, strings.ReplaceAll(one, "%s", status))
		}
		a.expect(append(want, others...)...)
	}
	expect("HIT")
	dc, region := layout.Datacenter("ash1"), layout.Region("us-east1")
	var zxid int64
	broke := time.Now()
	for _, path := range []string{list, dc, region} {
		zxid = w.put(path, "? ?")
	}
	expect("STALE")
	w.neverRead()
	for _, one := range made {
		path, _, _ := strings.Cut(one, ":")
		for what, opt := range map[string]discovery.ReadOptions{"no-cache": {Fresh: true}, "max-age": {MaxAge: time.Hour}} {
			// It is as old as the last good value, not as the last read.
			w.eventually(func() string {
				got, meta, err := a.route(path, opt)
				if most := time.Since(broke) + patience; !strings.HasSuffix(got, "STALE") || meta.Age < time.Second || meta.Age > most {
					return fmt.Sprintf("%s with %s: %s, %+v, %v", path, what, got, meta, err)
				}
				return ""
			})
		}
		for what, opt := range map[string]discovery.ReadOptions{"X-Min-Zxid": {MinZxid: zxid}, "max-age": {MaxAge: time.Nanosecond}, "stale-if-error": {StaleIfError: -1}} {
			if got, meta, err := a.route(path, opt); got != "503" {
				t.Errorf("%s with %s: %s, %+v, %v", path, what, got, meta, err)
			}
		}
	}
	for _, one := range others { // which the transaction did not touch
		path, _, _ := strings.Cut(one, ":")
		if got, meta, err := a.route(path, discovery.ReadOptions{MinZxid: zxid}); err != nil || strings.HasSuffix(got, "STALE") {
			t.Errorf("%s: %s, %+v, %v", path, got, meta, err)
		}
	}
	strict := w.answers(time.Second)
	strict.expect("bad: 503", "datacenter ash1: 503", "region us-east1: 503", "shop 42: 503", "placement: 503", "shop 43: HIT", "datacenter ash2: HIT")
	for _, path := range []string{"bad", "datacenter ash1"} {
		if got, _, _ := strict.route(path, discovery.ReadOptions{Fresh: true}); got != "503" {
			t.Errorf("%s with no-cache: %s", path, got)
		}
	}
	w.put(list, "198.51.100.1\n")
	w.put(region, `{"open":true}`)
	w.datacenter("ash1", "us-east1", 1)
	expect("HIT")
}

// TestLastGoodValueSurvivesRestarts: what cannot be read when magellan starts is
// served as it was when it could be, however often it is started.
func TestLastGoodValueSurvivesRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill()
	file := filepath.Join(t.TempDir(), "snapshot")
	clock := &fakeClock{wall: time.Unix(1_800_000_000, 0), boot: "a", uptime: time.Hour}
	list, dc := layout.BadCitizenList("bad"), layout.Datacenter("ash1")
	w.put(list, "198.51.100.1\n")
	c := w.open(Config{Snapshot: file, clock: clock})
	a := w.answers(0)
	a.expect("bad: HIT")
	w.must(c.Close())
	w.put(list, "198.51.100.1/33\n")
	w.hide(dc)
	w.datacenter("ash1", "us-east1", 11) // else it would be known to be what it was
	for i := range 3 {
		clock.pass(10 * time.Minute)
		away := i == 1
		if away {
			w.must(w.server.Kill())
		}
		c = w.open(Config{Snapshot: file, clock: clock})
		a = w.answers(0)
		a.expect("ip 198.51.100.1: listed STALE", "datacenter ash1: STALE", "bad: STALE", "datacenters: STALE", "shop 42: STALE")
		if !away {
			a.expect("datacenter ash2: HIT", "ip 203.0.113.1: listed HIT", "shop 43: HIT", "regions: STALE")
		}
		w.neverRead()
		for _, path := range []string{"bad", "datacenter ash1", "shop 42"} {
			if _, meta, err := a.route(path, discovery.ReadOptions{}); err != nil || meta.Age < time.Duration(i+1)*10*time.Minute {
				t.Errorf("start %d: %s: %+v, %v", i, path, meta, err)
			}
		}
		w.eventually(func() string { // what is written next has all that was heard of ZooKeeper
			if c.views.session.verified() <= 1 && !away {
				return "nothing has been heard of ZooKeeper"
			}
			return ""
		})
		w.must(c.Close())
		if away {
			w.must(w.server.Restart())
			w.must(w.zk.WaitReady(w.soon()))
		}
	}
	c = w.open(Config{Snapshot: file, clock: clock})
	a = w.answers(0)
	w.put(list, "198.51.100.1\n")
	w.show(dc)
	a.expect("ip 198.51.100.1: listed HIT", "datacenter ash1: HIT", "bad: HIT", "datacenters: HIT", "shop 42: HIT")
	w.noProblems()
}

// TestSetThatCannotBeListed: what may be in it is not known, and not told as nothing.
func TestSetThatCannotBeListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill()
	lists, dcs := layout.BadCitizensDir(), layout.DatacentersDir()
	for _, dir := range []string{lists, dcs} {
		w.hide(dir)
	}
	c := w.openUnready(Config{})
	short, cancel := context.WithTimeout(w.soon(), 10*time.Millisecond)
	defer cancel()
	if err := c.WaitReady(short); err == nil {
		t.Error("ready without the datacenters")
	}
	a := w.answers(0)
	a.expect("bad: unread", "ip 203.0.113.1: unread", "datacenters: unread", "datacenter ash1: unread", "datacenter none: unread",
		"shop 42: unread", "lookup 42: unread", "placement: unread", "region us-east1: unread", "shop none: 404")
	w.neverRead(lists, dcs)
	for _, dir := range []string{lists, dcs} {
		w.show(dir)
	}
	a.expect("bad: HIT", "ip 203.0.113.1: listed HIT", "datacenters: HIT", "datacenter none: 404", "shop 42: HIT", "placement: HIT")
	w.must(c.WaitReady(w.soon()))
	w.neverRead()
	// Once it has been listed, its members are known by their own watches.
	for _, dir := range []string{lists, dcs} {
		w.hide(dir)
	}
	w.must(w.server.Expire(c.views.session.client.SessionCredentials()))
	a.expect("bad: STALE", "ip 203.0.113.1: listed HIT", "ip 203.0.113.2: free STALE", "datacenters: STALE", "datacenter ash1: HIT",
		"datacenter none: 404", "shop 42: HIT", "placement: STALE")
	w.neverRead()
	w.datacenter("ash1", "us-east1", 77)
	w.eventually(func() string {
		if d, _, err := a.Datacenter(w.soon(), "ash1", discovery.ReadOptions{}); err != nil || d.Assigned != 77 {
			return fmt.Sprintf("%+v, %v", d, err)
		}
		return ""
	})
	// A directory that is not there holds nothing, and that is known.
	w.put(layout.BadCitizenList("good"), "")
	w.delete(layout.BadCitizenList("good"))
	w.delete(lists)
	a.expect("bad: HIT", "ip 203.0.113.1: free HIT")
}

// TestUpdating: while ZooKeeper is there, a change that is being read, or made a
// snapshot of, is not told as an outage; once ZooKeeper is away it is.
func TestUpdating(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill()
	c := w.open(Config{})
	a := w.answers(0)
	a.expect("shop 42: HIT", "datacenters: HIT")
	building := make(chan struct{})
	build := sync.OnceFunc(func() { close(building) })
	defer build()
	c.building.Store(new(func() { <-building }))
	w.datacenter("ash1", "us-east1", 77)
	a.expect("datacenters: UPDATING", "shop 42: UPDATING", "placement: UPDATING", "bad: HIT")
	build()
	a.expect("datacenters: HIT", "shop 42: HIT", "shop 43: HIT")

	s := c.sessions.list()[0]
	s.mu.Lock()
	s.inFlight += c.cfg.InFlight // so that what is to be read waits
	s.mu.Unlock()
	w.shop("42", "ash2")
	a.expect("shop 42: UPDATING", "shop 43: HIT")
	if x, _ := c.Explain(layout.Shop("42")); x.Cache != "UPDATING" || !x.Reading {
		t.Errorf("%+v", x)
	}
	s.live.Store(false) // as when the connection breaks
	a.expect("shop 42: STALE", "shop 43: STALE", "datacenters: STALE")
	s.live.Store(true)
	s.mu.Lock()
	s.inFlight -= c.cfg.InFlight
	s.mu.Unlock()
	s.pump()
	a.expect("shop 42: HIT")
}
