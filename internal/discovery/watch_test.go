package discovery_test

import (
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
	topic, other := discovery.Topic{Kind: "shop", Name: "42"}, discovery.Topic{Kind: "printer", Name: "42"}
	f.Publish(topic, time.Time{}) // nobody hears it
	var a, b, c counter
	wa, wb, wc := f.Watch(topic, &a), f.Watch(topic, &b), f.Watch(other, &c)
	if !f.Watched(topic) || f.Watched(discovery.Topic{Kind: "shop", Name: "43"}) || f.Watches() != 3 {
		t.Error("what is watched is not known")
	}
	learnt := time.Unix(7, 0)
	f.Expect(topic, learnt)
	f.Expect(topic, learnt.Add(time.Second)) // the first counts
	f.Publish(topic, time.Time{})
	if a.n.Load() != 1 || b.n.Load() != 1 || c.n.Load() != 0 || !a.last.Load().Equal(learnt) {
		t.Errorf("told %d, %d, %d; at %v", a.n.Load(), b.n.Load(), c.n.Load(), a.last.Load())
	}
	wa.Stop()
	wa.Stop()
	f.Publish(topic, time.Time{})
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

// TestFeedMissesNothing: watch, look, wait; store, publish. Whoever waits has
// seen the last value stored.
func TestFeedMissesNothing(t *testing.T) {
	f := discovery.NewFeed(nil)
	const writes, watchers = 2000, 8
	var values [4]atomic.Int64
	topics := [4]discovery.Topic{{Kind: "shop", Name: "0"}, {Kind: "shop", Name: "1"}, {Kind: "topology"}, {Kind: "blocklist"}}
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
				f.Publish(topics[i], time.Time{})
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
