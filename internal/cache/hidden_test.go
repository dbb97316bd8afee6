package cache

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
)

// told asks once for a fresh answer and wants it as it should be.
func (a answers) told(path string, want ...string) {
	a.Helper()
	got, meta, err := a.route(path, discovery.ReadOptions{Fresh: true})
	for _, one := range want {
		if got == one {
			return
		}
	}
	a.Errorf("%s, asked for afresh, is %s (%+v, %v), want %v; problems %+v", path, got, meta, err, want, a.cache.Problems())
}

// noDrift wants nothing to be called a drift: servers differ in what they tell, so how
// many changes were hidden is not to be said.
func (w *world) noDrift() {
	w.Helper()
	if n := w.drift(); n != 0 {
		w.Errorf("%v drifts", n)
	}
}

// changes are those that a server may keep from whoever may not read.
var changes = []struct {
	name, path string
	change     func(w *world)
	// before is an answer that the change makes wrong, after what it is once it can be
	// read. doubted is what it may be in between, asked for afresh.
	before, after string
	doubted       []string
}{
	{"a list", layout.BadCitizenList("good"), func(w *world) { w.put(layout.BadCitizenList("good"), "203.0.113.1\n203.0.113.2\n") },
		"ip 203.0.113.2: free HIT", "ip 203.0.113.2: listed HIT", []string{"free STALE"}},
	{"a datacenter", layout.Datacenter("ash1"), func(w *world) {
		w.put(layout.Datacenter("ash1"), `{"region":"none","capacity":1000,"assigned":10,"open":true}`)
	},
		"shop 42: HIT", "shop 42: HIT", []string{"STALE"}},
	{"a region", layout.Region("us-east1"), func(w *world) { w.put(layout.Region("us-east1"), `{"open":false}`) },
		"placement: HIT", "placement: no capacity", []string{"STALE"}},
	{"which lists there are", layout.BadCitizensDir(), func(w *world) { w.put(layout.BadCitizenList("new"), "203.0.113.2\n") },
		"ip 203.0.113.2: free HIT", "ip 203.0.113.2: listed HIT", []string{"free STALE"}},
	{"which datacenters there are", layout.DatacentersDir(), func(w *world) { w.datacenter("sea1", "us-east1", 1) },
		"datacenter sea1: 404", "datacenter sea1: HIT", []string{"404"}},
	{"a shop", layout.Shop("42"), func(w *world) { w.shop("42", "none") },
		"shop 42: HIT", "shop 42: 502", []string{"STALE"}},
}

// TestHiddenChangeAskedAfresh: ZooKeeper tells nothing of a change to who may not read
// at that moment. Who asks for what it holds now is not told what it held before as if
// that were so, whether it can be read again or not.
func TestHiddenChangeAskedAfresh(t *testing.T) {
	t.Parallel()
	for _, tt := range changes {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.fill()
			w.open(Config{})
			a := w.answers(0)
			a.expect(tt.before)
			path, after, _ := strings.Cut(tt.after, ": ")
			after = strings.Replace(after, "HIT", "MISS", 1)

			w.hide(tt.path)
			tt.change(w)
			a.told(path, tt.doubted...)
			if len(w.cache.Problems()) == 0 {
				t.Error("it is no problem")
			}
			w.show(tt.path)
			a.expect(tt.after)

			// In the time of a few requests, so that nobody sees it closed.
			w = newWorld(t)
			w.fill()
			w.open(Config{})
			a = w.answers(0)
			a.expect(tt.before)
			w.hide(tt.path)
			tt.change(w)
			w.show(tt.path)
			a.told(path, after)
			a.expect(tt.after)
			w.noDrift()
		})
	}
}

// TestHiddenChangeIsFound: nobody asks for it afresh, and it is found all the same.
func TestHiddenChangeIsFound(t *testing.T) {
	t.Parallel()
	for _, tt := range changes {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.fill()
			w.open(Config{AuditRate: 10})
			a := w.answers(0)
			a.expect(tt.before)
			path, _, _ := strings.Cut(tt.before, ": ")
			w.hide(tt.path)
			tt.change(w)
			a.eventually(func() string {
				if got, meta, err := a.route(path, discovery.ReadOptions{}); !strings.HasSuffix(got, "STALE") && got != "404" || len(w.cache.Problems()) == 0 {
					return fmt.Sprintf("%s is %s: %+v, %v", path, got, meta, err)
				}
				return ""
			})
			w.show(tt.path)
			a.expect(tt.after)
			if p := w.cache.Problems(); len(p) > 0 && tt.path != layout.Datacenter("ash1") {
				t.Errorf("problems left: %+v", p)
			}
			w.noDrift()
		})
	}
}

// TestHiddenChangeAmongMany: it is not left to chance when a member is looked at.
func TestHiddenChangeAmongMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const members = 2000
	var ops []zk.Op
	for i := range members {
		ops = append(ops, zk.CreateOp(layout.Datacenter(fmt.Sprint("dc-", i)), []byte(`{"region":"us-east1","capacity":1,"assigned":1,"open":true}`), zk.CreateOptions{}))
	}
	_, err := w.zk.Multi(w.soon(), ops...)
	w.must(err)
	w.open(Config{AuditRate: 1})
	w.expectDatacenters(members+2, discovery.Hit)
	begun := time.Now()
	const fresh = 4
	for range fresh {
		_, _, err := w.cache.Topology(w.soon(), discovery.ReadOptions{Fresh: true})
		w.must(err)
	}
	if took := time.Since(begun); took < (fresh-1)*members*time.Second/checksPerSecond {
		t.Errorf("%d checks of %d members took %v only", fresh, members, took)
	}
	for i, path := range []string{layout.Datacenter("dc-7"), layout.DatacentersDir()} {
		w.hide(path)
		w.datacenter("dc-7", "us-east1", 100+i)
		w.datacenter(fmt.Sprint("new-", i), "us-east1", 1)
		w.show(path)
	}
	w.eventually(func() string {
		topology, _, err := w.cache.Topology(w.soon(), discovery.ReadOptions{})
		w.must(err)
		if d, _ := topology.Datacenter("dc-7"); d.Assigned != 101 || len(topology.Datacenters()) != members+4 {
			return fmt.Sprintf("dc-7 is %+v, of %d", d, len(topology.Datacenters()))
		}
		return ""
	})
	w.noDrift()
}

// TestClosedAndTheSame: what may not be read any more and has not been changed is known
// to be what it was, for as long as that is so.
func TestClosedAndTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill()
	c := w.open(Config{AuditRate: 10})
	const maxStale = 10 * time.Second
	a := w.answers(maxStale)
	a.expect("ip 203.0.113.1: listed HIT", "shop 42: HIT", "datacenters: HIT")
	paths := []string{layout.BadCitizenList("good"), layout.BadCitizensDir(), layout.Datacenter("ash1"), layout.DatacentersDir(), layout.Shop("42")}
	for _, path := range paths {
		w.hide(path)
	}
	w.eventually(func() string {
		if p := c.Problems(); len(p) != len(paths) {
			return fmt.Sprintf("%d problems: %+v", len(p), p)
		}
		return ""
	})
	closed := time.Now()
	want := []string{"ip 203.0.113.1: listed STALE", "ip 203.0.113.9: free STALE", "shop 42: STALE", "datacenters: STALE", "datacenter ash1: STALE"}
	a.expect(want...)
	w.eventually(func() string { // long enough that nothing would be left of what is as old as the closing
		if time.Since(closed) < maxStale+maxStale/4 {
			return "not long enough"
		}
		return ""
	})
	a.expect(want...)
	for _, path := range paths {
		w.show(path)
	}
	a.expect("ip 203.0.113.1: listed HIT", "shop 42: HIT", "datacenters: HIT")
	w.noDrift()
}

// TestCreatedHidden: a shop that comes into being closed, as `import --auth` makes it,
// is not told as absent by what watched for it.
func TestCreatedHidden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.client(zk.Config{Servers: []string{w.server.Addr()}, Auth: []zk.Credential{{Scheme: "digest", Data: "alice:secret"}}})
	create := func(name string) {
		t.Helper()
		w.put(strings.TrimSuffix(layout.Shop(name), "/"+name), "")
		_, _, err := owner.Create(w.soon(), layout.Shop(name), []byte(`{"datacenter":"ash1"}`),
			zk.CreateOptions{ACL: []zk.ACL{{Perms: zk.PermAll, Scheme: "auth"}}})
		w.must(err)
	}
	w.open(Config{})
	a := w.answers(0)
	a.expect("shop a: 404", "shop b: 404")
	create("a")
	a.told("shop a", "unread")
	create("never asked for")
	a.expect("shop never asked for: unread")
	a.expect("shop a: unread")
	w.must(w.cache.Close())

	// Where there are many that exist, their turn is far away.
	w.open(Config{AuditRate: 1})
	a = w.answers(0)
	names := make([]string, 400)
	for i := range names {
		names[i] = fmt.Sprint("shop-", i)
		w.shop(names[i], "ash1")
	}
	w.cache.Shops(w.soon(), names, discovery.ReadOptions{}, make([]shops.ShopRead, len(names)))
	a.expect("shop b: 404", "shop c: 404")
	create("b")
	a.expect("shop b: unread", "shop c: 404")
	w.must(owner.SetACL(w.soon(), layout.Shop("b"), zk.OpenACL(), -1))
	a.expect("shop b: HIT")
	w.noDrift()
}

// TestFollowedThroughHiding: who follows a shop is told of what it has become once it
// can be read again, although its watch was spent without a word.
func TestFollowedThroughHiding(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill()
	w.open(Config{})
	w.expect("42", "ash1", discovery.Hit)
	followed := make(chan string, 1)
	go func() { followed <- w.follow(w.soon(), "42", "ash2") }()
	w.eventually(func() string {
		if !w.cache.notify.feed.Watched(shops.ShopTopic("42")) {
			return "nobody follows"
		}
		return ""
	})
	w.hide(layout.Shop("42"))
	w.askWith("42", discovery.ReadOptions{Fresh: true}) // which finds it closed
	w.shop("42", "ash2")
	w.show(layout.Shop("42"))
	if got := <-followed; got != "ash2" {
		t.Errorf("42 is %s for who follows it", got)
	}
}

// TestManyClosedMembers: they are asked for again and again, and never twice at a time.
func TestManyClosedMembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill()
	const members = 150
	for i := range members {
		w.put(layout.BadCitizenList(fmt.Sprint("list-", i)), fmt.Sprintf("198.51.100.%d\n", i))
	}
	for i := range members {
		w.hide(layout.BadCitizenList(fmt.Sprint("list-", i)))
	}
	c := w.open(Config{})
	s, a := c.views.session, w.answers(0)
	a.expect("bad: unread")
	w.must(w.server.Pause())
	defer w.server.Resume()
	asked := time.Now()
	w.eventually(func() string { // several rounds of askAgain
		if time.Since(asked) < 4*time.Second {
			return "not long enough"
		}
		return ""
	})
	s.mu.Lock()
	waiting := s.waiting[upkeep].len() + s.inFlight
	s.mu.Unlock()
	if waiting > members {
		t.Errorf("%d reads of %d members", waiting, members)
	}
	w.must(w.server.Resume())
	for i := range members {
		w.show(layout.BadCitizenList(fmt.Sprint("list-", i)))
	}
	a.expect("bad: HIT", "ip 198.51.100.149: listed HIT")
	w.neverRead()
}
