package shops_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

// counter counts what it is told.
type counter struct{ n atomic.Int64 }

func (c *counter) Changed(time.Time) { c.n.Add(1) }

func publish(f *discovery.Feed, topics []discovery.Topic) {
	for _, t := range topics {
		f.Publish(t, time.Time{})
	}
}

// TestPublishTopology: each topic is told of its own changes only.
func TestPublishTopology(t *testing.T) {
	region := func(open bool, zxid int64) []shops.Region {
		return []shops.Region{{Name: "r", Open: open, Zxid: zxid}, {Name: "s"}}
	}
	dc := func(name, region string, assigned, zxid int64) shops.Datacenter {
		return shops.Datacenter{Name: name, Region: region, Assigned: assigned, Zxid: zxid}
	}
	was := shops.NewTopology(1, region(true, 1), []shops.Datacenter{dc("a", "r", 1, 1), dc("b", "r", 1, 1)})
	for _, tt := range []struct {
		name string
		is   *shops.Topology
		want string // told: a, b, c, topology
	}{
		{"nothing but zxids", shops.NewTopology(2, region(true, 2), []shops.Datacenter{dc("b", "r", 1, 2), dc("a", "r", 1, 2)}), "0 0 0 0"},
		{"a region closed", shops.NewTopology(2, region(false, 2), []shops.Datacenter{dc("a", "r", 1, 1), dc("b", "r", 1, 1)}), "0 0 0 1"},
		{"a count", shops.NewTopology(2, region(true, 1), []shops.Datacenter{dc("a", "r", 2, 2), dc("b", "r", 1, 1)}), "0 0 0 1"},
		{"one moved", shops.NewTopology(2, region(true, 1), []shops.Datacenter{dc("a", "r", 1, 1), dc("b", "s", 1, 2)}), "0 1 0 1"},
		{"one went, one came", shops.NewTopology(2, region(true, 1), []shops.Datacenter{dc("a", "r", 1, 1), dc("c", "r", 1, 2)}), "0 1 1 1"},
		{"one went", shops.NewTopology(2, region(true, 1), []shops.Datacenter{dc("b", "r", 1, 1)}), "1 0 0 1"},
		{"a region went", shops.NewTopology(2, region(true, 1)[:1], []shops.Datacenter{dc("a", "r", 1, 1), dc("b", "r", 1, 1)}), "0 0 0 1"},
	} {
		f := discovery.NewFeed(nil)
		var told [4]counter
		for i, topic := range []discovery.Topic{shops.DatacenterTopic("a"), shops.DatacenterTopic("b"), shops.DatacenterTopic("c"), shops.TopologyTopic()} {
			f.Watch(topic, &told[i])
		}
		publish(f, shops.TopologyChanges(was, tt.is))
		if got := fmt.Sprint(told[0].n.Load(), told[1].n.Load(), told[2].n.Load(), told[3].n.Load()); got != tt.want {
			t.Errorf("%s: told %s, want %s", tt.name, got, tt.want)
		}
		publish(f, shops.TopologyChanges(nil, was))
		if told[3].n.Load() == 0 {
			t.Error("the first topology is no change")
		}
	}
}

// TestPublishDoubts: who waits for an answer is told when it becomes known, or no
// longer is; that it only grows older is no change.
func TestPublishDoubts(t *testing.T) {
	f := discovery.NewFeed(nil)
	var topology, datacenter, other counter
	for topic, c := range map[discovery.Topic]*counter{
		shops.TopologyTopic(): &topology, shops.DatacenterTopic("sea1"): &datacenter, shops.DatacenterTopic("ash1"): &other,
	} {
		defer f.Watch(topic, c).Stop()
	}
	of := func(all ...discovery.Doubt) *shops.Topology {
		return shops.NewTopology(1, nil, []shops.Datacenter{{Name: "ash1"}}).WithDoubts(discovery.Doubts{}, discovery.NewDoubts(all))
	}
	unread := discovery.Doubt{Name: "sea1", Reason: "?"}
	accepted, older, listing := unread, unread, unread
	accepted.Accepted, older.Reason, listing.Name = true, "??", ""
	is := of()
	for i, step := range []struct {
		to                   *shops.Topology
		topology, datacenter int64
	}{
		{of(unread), 1, 0}, // nobody's answer was made of it yet
		{of(older), 1, 0},
		{of(accepted), 2, 1},
		{of(unread), 3, 2},
		{of(), 4, 3},
		{of(listing), 5, 3},
		{of(listing), 5, 3},
	} {
		publish(f, shops.TopologyChanges(is, step.to))
		is = step.to
		if topology.n.Load() != step.topology || datacenter.n.Load() != step.datacenter || other.n.Load() != 0 {
			t.Errorf("step %d: told %d, %d, %d", i, topology.n.Load(), datacenter.n.Load(), other.n.Load())
		}
	}
	if regions, datacenters := is.Doubts(); regions.Whole() != nil || !strings.Contains(datacenters.Whole().Reason, "?") {
		t.Errorf("%+v, %+v", regions, datacenters)
	}
}
