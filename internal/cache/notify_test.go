package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

// wakeUp is an observer that somebody waits for.
type wakeUp chan struct{}

func (w wakeUp) Changed(time.Time) {
	select {
	case w <- struct{}{}:
	default:
	}
}

// follow reads a shop whenever it is told that it has changed, and never
// otherwise, until it reads want or ctx ends. It returns what it read last.
func (w *world) follow(ctx context.Context, name, want string) string {
	woken := make(wakeUp, 1)
	watch := w.cache.Watch(shops.ShopTopic(name), woken)
	defer watch.Stop()
	for {
		got, _ := w.ask(name)
		if got == want {
			return got
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return got
		}
	}
}

// TestNoLostWakeUp: many shops are written at once, deleted and created again,
// while others push them out of a cache that is far too small. Whoever follows
// one gets to its last value, woken by nothing but its changes.
func TestNoLostWakeUp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cfg  Config
		pins int
	}{
		{"room", Config{}, -1},
		{"no room", Config{MaxBytes: 20 * entryBytes}, 100},
		{"no room to pin", Config{MaxBytes: 20 * entryBytes}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			const many, writes = 30, 60
			for i := range many {
				w.shop(strconv.Itoa(i), "ash1")
			}
			c := w.open(tt.cfg)
			if tt.pins >= 0 {
				c.notify.max = int64(tt.pins) * (entryBytes + 50)
			}
			var followers, writers, readers sync.WaitGroup
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for i := range many {
				for range 3 {
					followers.Go(func() {
						if got := w.follow(ctx, strconv.Itoa(i), "last"); got != "last" {
							t.Errorf("shop %d is %s for its follower, for good", i, got)
						}
					})
				}
				writers.Go(func() {
					name := strconv.Itoa(i)
					for n := range writes {
						if n%7 == 3 {
							w.delete(layout.Shop(name))
						}
						w.shop(name, fmt.Sprintf("ash%d", n))
					}
				})
			}
			var done atomic.Bool
			readers.Go(func() {
				for !done.Load() {
					w.ask(strconv.Itoa(rand.IntN(300)))
				}
			})
			writers.Wait()
			for i := range many {
				w.shop(strconv.Itoa(i), "last")
			}
			followers.Wait()
			done.Store(true)
			readers.Wait()
			if n := c.notify.feed.Watches(); n != 0 {
				t.Errorf("%d watches are left", n)
			}
			if n := c.notify.pins(); n != 0 {
				t.Errorf("%d entries are pinned that nobody watches", n)
			}
		})
	}
}

// TestWatchedShopStays: what ristretto lets go of stays while it is watched, and
// its watch leaves the server afterwards.
func TestWatchedShopStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	c := w.open(Config{MaxBytes: 10 * entryBytes})
	woken := make(wakeUp, 1)
	watch := c.Watch(shops.ShopTopic("42"), woken)
	w.ask("42")
	const others = 40
	for i := range others {
		w.shop(strconv.Itoa(1000+i), "ash1")
	}
	flood := func() string {
		for range 20 {
			w.ask(strconv.Itoa(1000 + rand.IntN(others)))
		}
		return fmt.Sprintf("%d pinned", c.notify.pins())
	}
	w.eventually(func() string {
		if complaint := flood(); c.notify.pins() != 1 {
			return complaint
		}
		return ""
	})
	for len(woken) > 0 {
		<-woken // the first read, and evictions before it was pinned
	}
	w.shop("42", "ash2")
	select {
	case <-woken:
	case <-time.After(patience):
		t.Fatal("a change of a shop that was evicted was not told")
	}
	if got, meta := w.ask("42"); got != "ash2" || meta.Cache != discovery.Hit {
		t.Errorf("woken for %s (%v)", got, meta.Cache)
	}
	watch.Stop()
	if c.notify.pins() != 0 {
		t.Error("it is still pinned")
	}
	hash := c.hash("42")
	w.eventually(func() string {
		if flood(); c.index.entry(hash) != nil {
			return "a shop that nobody watches any more stays"
		}
		return ""
	})
}

// TestWakesForChangesOnly: what makes no other answer wakes nobody: a record
// that is written again as it was, a lost session, a count of shops.
func TestWakesForChangesOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	c := w.open(Config{})
	w.ask("42")
	shop, datacenter, topology := make(wakeUp, 1), make(wakeUp, 1), make(wakeUp, 1)
	for topic, o := range map[discovery.Topic]wakeUp{
		shops.ShopTopic("42"): shop, shops.DatacenterTopic("ash1"): datacenter, shops.TopologyTopic(): topology,
	} {
		defer c.Watch(topic, o).Stop()
	}
	expectWoken := func(what string, o wakeUp) {
		t.Helper()
		select {
		case <-o:
		case <-time.After(patience):
			t.Fatalf("%s: nobody was told", what)
		}
	}
	zxid := w.shop("42", "ash1")
	w.eventually(func() string {
		if _, meta := w.ask("42"); meta.Zxid != zxid || meta.Cache != discovery.Hit {
			return "the new record does not come"
		}
		return ""
	})
	w.datacenter("ash1", "us-east1", 11)
	expectWoken("a count", topology)
	if len(shop)+len(datacenter) > 0 {
		t.Errorf("told of no change: shop %d, datacenter %d", len(shop), len(datacenter))
	}

	// A read that fails in an outage is a reason to look again, so only of the
	// datacenter nothing must be told.
	w.must(w.server.Kill())
	w.expect("42", "ash1", discovery.Stale)
	w.must(w.server.Restart())
	w.expect("42", "ash1", discovery.Hit)
	if len(datacenter) > 0 {
		t.Error("told of no change of the datacenter")
	}

	w.datacenter("ash1", "eu-west1", 11)
	expectWoken("a datacenter that moved", datacenter)
	w.must(w.server.Kill())
	w.must(w.server.Restart())
	w.must(w.zk.WaitReady(w.soon()))
	w.delete(layout.Shop("42"))
	for got := ""; got != "absent"; got, _ = w.ask("42") {
		expectWoken("a shop deleted after an outage", shop)
	}
}

// learntAt is an observer that keeps when changes were learnt of.
type learntAt chan time.Time

func (l learntAt) Changed(at time.Time) { l <- at }

// TestChangesSayWhenLearnt: what measures propagation starts when the watch event
// arrived.
func TestChangesSayWhenLearnt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	c := w.open(Config{})
	w.ask("42")
	for _, tt := range []struct {
		topic  discovery.Topic
		change func()
	}{
		{shops.ShopTopic("42"), func() { w.shop("42", "ash2") }},
		{shops.TopologyTopic(), func() { w.datacenter("ash1", "us-east1", 11) }},
		{shops.DatacenterTopic("ash1"), func() { w.datacenter("ash1", "eu-west1", 11) }},
		{shops.BlocklistTopic(), func() { w.put(layout.BadCitizenList("fraud"), "192.0.2.1") }},
	} {
		told := make(learntAt, 10)
		watch := c.Watch(tt.topic, told)
		before := time.Now()
		tt.change()
		var at time.Time
		select {
		case at = <-told:
		case <-time.After(patience):
			t.Fatalf("%+v: nobody was told", tt.topic)
		}
		if at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("%+v: learnt at %v, changed at %v", tt.topic, at, before)
		}
		watch.Stop()
	}
}

// inTheMiddle is an observer that is being told until released is closed.
type inTheMiddle struct{ entered, released chan struct{} }

func (m inTheMiddle) Changed(time.Time) {
	close(m.entered)
	<-m.released
}

// TestToldBeforeAnswered: an answer is given when those who watch have been told of
// what it is made of. Who watches from then on is told of changes only.
func TestToldBeforeAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	c := w.open(Config{})
	watching := inTheMiddle{make(chan struct{}), make(chan struct{})}
	defer c.Watch(shops.ShopTopic("42"), watching).Stop()
	answered := make(chan string, 1)
	go func() {
		got, _ := w.ask("42")
		answered <- got
	}()
	<-watching.entered
	select {
	case got := <-answered:
		t.Errorf("%s was answered first", got)
		answered <- got
	case <-time.After(100 * time.Millisecond):
	}
	close(watching.released)
	if got := <-answered; got != "ash1" {
		t.Error(got)
	}
}
