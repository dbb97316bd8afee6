package cache

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

const (
	// lookAgainAfter is how long those who watch a shop that no ZooKeeper watch
	// tells of are left alone until they are told to look again; up to half of
	// it is added at random.
	lookAgainAfter = time.Second
	// pinnedShare is the part of Config.MaxBytes that may be held on top of it
	// for shops that are watched and that ristretto does not keep.
	pinnedShare = 4
)

// notifier tells those who watch an answer that what it is made of has changed.
//
// A shop that is watched stays, and with it its watch in ZooKeeper, even where
// ristretto lets it go: nothing would tell of its changes otherwise. It is pinned
// then, until nobody watches it. Beyond a bound, and where a shop cannot be kept
// at all or its read has failed, watchers are told to look again after a while.
type notifier struct {
	c    *Cache
	feed *discovery.Feed
	// When the first change was learnt of that the next snapshot will hold, in
	// nanoseconds of Unix time; 0 if there is none.
	topologyAt, blocklistAt atomic.Int64

	mu     sync.Mutex
	pinned map[uint64]*entry
	max    int // of pinned
	again  map[string]bool
}

func (n *notifier) init(c *Cache) {
	n.c = c
	n.feed = discovery.NewFeed(n.idle)
	n.pinned, n.again = map[uint64]*entry{}, map[string]bool{}
	n.max = int(c.cfg.MaxBytes / pinnedShare / entryBytes)
}

// Watch implements shops.Reader.
func (c *Cache) Watch(t discovery.Topic, o discovery.Observer) *discovery.Watch {
	return c.notify.feed.Watch(t, o)
}

// installed is called after was, nil for none, has been replaced by is in the
// entry of a shop. That a record is vouched for again is no change.
func (n *notifier) installed(name string, was, is *record) {
	if was == nil || was.datacenter != is.datacenter || (was.zxid == 0) != (is.zxid == 0) {
		n.feed.Publish(shops.ShopTopic(name), time.Time{})
	}
}

// expect notes that a change of a shop has been learnt of, and is being read.
func (n *notifier) expect(name string) {
	if n.feed.Watches() > 0 {
		n.feed.Expect(shops.ShopTopic(name), time.Now())
	}
}

// keep reports whether an entry that ristretto does not keep is to stay for
// those who watch it, and pins it. The entry's shard is locked: who begins to
// watch later finds that the entry has gone, or is told by left.
func (n *notifier) keep(hash uint64, e *entry) bool {
	if !n.feed.Watched(shops.ShopTopic(e.name)) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.pinned) >= n.max {
		return false
	}
	n.pinned[hash] = e
	return true
}

// left is called after an entry has left the index. Who began to watch it since
// keep was asked looks again, and has it read again. Those it was not kept for,
// for want of room, come later: they would push it out again at once.
func (n *notifier) left(name string) {
	n.mu.Lock()
	full := len(n.pinned) >= n.max
	n.mu.Unlock()
	if full {
		n.lookAgain(name)
	} else {
		n.feed.Publish(shops.ShopTopic(name), time.Time{})
	}
}

// idle gives a pinned entry that nobody watches any more its place anew.
func (n *notifier) idle(t discovery.Topic) {
	name := t.Name
	if t != shops.ShopTopic(name) {
		return
	}
	hash := n.c.hash(name)
	sh := n.c.index.shard(hash)
	sh.mu.Lock()
	n.mu.Lock()
	e := n.pinned[hash]
	free := e != nil && e.name == name && !n.feed.Watched(t)
	if free {
		delete(n.pinned, hash)
	}
	n.mu.Unlock()
	sh.mu.Unlock()
	if free {
		n.c.settle(hash, e)
	}
}

// lookAgain tells those who watch a shop, in a while, that it may have changed.
func (n *notifier) lookAgain(name string) {
	topic := shops.ShopTopic(name)
	if !n.feed.Watched(topic) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.again[name] {
		return
	}
	n.again[name] = true
	time.AfterFunc(lookAgainAfter+rand.N(lookAgainAfter/2), func() {
		n.mu.Lock()
		delete(n.again, name)
		n.mu.Unlock()
		n.feed.Publish(topic, time.Time{})
	})
}

// learnt notes the time of a change that a snapshot will hold.
func learnt(at *atomic.Int64) { at.CompareAndSwap(0, time.Now().UnixNano()) }

// since takes that time.
func since(at *atomic.Int64) time.Time {
	if ns := at.Swap(0); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

func (n *notifier) pins() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.pinned)
}
