package discovery_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"magellan/internal/discovery"
)

// counter counts what it is told.
type counter struct {
	n    atomic.Int64
	last atomic.Pointer[time.Time]
}

func (c *counter) Changed(at time.Time) {
	c.last.Store(&at)
	c.n.Add(1)
}

func TestFeed(t *testing.T) {
	var idle []discovery.Topic
	f := discovery.NewFeed(func(t discovery.Topic) { idle = append(idle, t) })
	topic, other := discovery.ShopTopic("42"), discovery.DatacenterTopic("42")
	f.Publish(topic) // nobody hears it
	var a, b, c counter
	wa, wb, wc := f.Watch(topic, &a), f.Watch(topic, &b), f.Watch(other, &c)
	if !f.Watched(topic) || f.Watched(discovery.ShopTopic("43")) || f.Watches() != 3 {
		t.Error("what is watched is not known")
	}
	learnt := time.Unix(7, 0)
	f.Expect(topic, learnt)
	f.Expect(topic, learnt.Add(time.Second)) // the first counts
	f.Publish(topic)
	if a.n.Load() != 1 || b.n.Load() != 1 || c.n.Load() != 0 || !a.last.Load().Equal(learnt) {
		t.Errorf("told %d, %d, %d; at %v", a.n.Load(), b.n.Load(), c.n.Load(), a.last.Load())
	}
	wa.Stop()
	wa.Stop()
	f.Publish(topic)
	if a.n.Load() != 1 || b.n.Load() != 2 || !b.last.Load().IsZero() {
		t.Errorf("told %d, %d; at %v", a.n.Load(), b.n.Load(), b.last.Load())
	}
	if len(idle) != 0 {
		t.Errorf("%v is called idle with a watch left", idle)
	}
	wb.Stop()
	wc.Stop()
	if !slices.Equal(idle, []discovery.Topic{topic, other}) || f.Watches() != 0 || f.Watched(topic) {
		t.Errorf("idle %v, %d watches", idle, f.Watches())
	}
}

// TestPublishTopology: each topic is told of its own changes only.
func TestPublishTopology(t *testing.T) {
	region := func(open bool, zxid int64) []discovery.Region {
		return []discovery.Region{{Name: "r", Open: open, Zxid: zxid}, {Name: "s"}}
	}
	dc := func(name, region string, assigned, zxid int64) discovery.Datacenter {
		return discovery.Datacenter{Name: name, Region: region, Assigned: assigned, Zxid: zxid}
	}
	was := discovery.NewTopology(1, region(true, 1), []discovery.Datacenter{dc("a", "r", 1, 1), dc("b", "r", 1, 1)})
	for _, tt := range []struct {
		name string
		is   *discovery.Topology
		want string // told: a, b, c, topology
	}{
		{"nothing but zxids", discovery.NewTopology(2, region(true, 2), []discovery.Datacenter{dc("b", "r", 1, 2), dc("a", "r", 1, 2)}), "0 0 0 0"},
		{"a region closed", discovery.NewTopology(2, region(false, 2), []discovery.Datacenter{dc("a", "r", 1, 1), dc("b", "r", 1, 1)}), "0 0 0 1"},
		{"a count", discovery.NewTopology(2, region(true, 1), []discovery.Datacenter{dc("a", "r", 2, 2), dc("b", "r", 1, 1)}), "0 0 0 1"},
		{"one moved", discovery.NewTopology(2, region(true, 1), []discovery.Datacenter{dc("a", "r", 1, 1), dc("b", "s", 1, 2)}), "0 1 0 1"},
		{"one went, one came", discovery.NewTopology(2, region(true, 1), []discovery.Datacenter{dc("a", "r", 1, 1), dc("c", "r", 1, 2)}), "0 1 1 1"},
		{"one went", discovery.NewTopology(2, region(true, 1), []discovery.Datacenter{dc("b", "r", 1, 1)}), "1 0 0 1"},
		{"a region went", discovery.NewTopology(2, region(true, 1)[:1], []discovery.Datacenter{dc("a", "r", 1, 1), dc("b", "r", 1, 1)}), "0 0 0 1"},
	} {
		f := discovery.NewFeed(nil)
		var told [4]counter
		for i, topic := range []discovery.Topic{discovery.DatacenterTopic("a"), discovery.DatacenterTopic("b"), discovery.DatacenterTopic("c"), discovery.TopologyTopic()} {
			f.Watch(topic, &told[i])
		}
		f.PublishTopology(was, tt.is, time.Time{})
		if got := fmt.Sprint(told[0].n.Load(), told[1].n.Load(), told[2].n.Load(), told[3].n.Load()); got != tt.want {
			t.Errorf("%s: told %s, want %s", tt.name, got, tt.want)
		}
		f.PublishTopology(nil, was, time.Time{})
		if told[3].n.Load() == 0 {
			t.Error("the first topology is no change")
		}
	}
}

// TestFeedMissesNothing: watch, look, wait; store, publish. Whoever waits has
// seen the last value stored.
func TestFeedMissesNothing(t *testing.T) {
	f := discovery.NewFeed(nil)
	const writes, watchers = 2000, 8
	var values [4]atomic.Int64
	topics := [4]discovery.Topic{discovery.ShopTopic("0"), discovery.ShopTopic("1"), discovery.TopologyTopic(), discovery.BlocklistTopic()}
	var all sync.WaitGroup
	for range watchers {
		all.Go(func() {
			for seen, i := [4]int64{}, 0; ; i = rand.IntN(len(values)) {
				for seen[i] == writes {
					if i = slices.IndexFunc(seen[:], func(v int64) bool { return v < writes }); i < 0 {
						return
					}
				}
				woken := make(wakeUp, 1)
				w := f.Watch(topics[i], woken)
				for now := values[i].Load(); now == seen[i]; now = values[i].Load() {
					select {
					case <-woken:
					case <-time.After(2 * time.Minute):
						t.Errorf("a change after %d was missed", seen[i])
						w.Stop()
						return
					}
				}
				seen[i] = values[i].Load()
				w.Stop()
			}
		})
	}
	for i := range values {
		all.Go(func() {
			for range writes {
				values[i].Add(1)
				f.Publish(topics[i])
			}
		})
	}
	all.Wait()
	if f.Watches() != 0 {
		t.Errorf("%d watches are left", f.Watches())
	}
}

type wakeUp chan struct{}

func (w wakeUp) Changed(time.Time) {
	select {
	case w <- struct{}{}:
	default:
	}
}
