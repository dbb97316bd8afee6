package cache

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"magellan/internal/discovery"
)

const (
	// lookAgainAfter is how long it takes until the observers of a thing are notified if no
	// watch will announce the thing's next change. Up to half of that is added at random.
	lookAgainAfter = time.Second
	// pinnedShare bounds the memory of pinned entries: they may take Config.MaxBytes /
	// pinnedShare on top of Config.MaxBytes.
	pinnedShare = 4
)

// notifier notifies observers of changes of what an answer is made of.
//
// If ristretto evicts an entry that somebody watches, the entry is pinned: the entry and its
// watch in ZooKeeper stay until nobody watches the entry any more, because otherwise no event
// would announce its changes. In three cases no event does so: too many entries are pinned, the
// thing cannot be kept at all, or its read has failed. Then the notifier has the observers read
// again after a while.
type notifier struct {
	c      *Cache
	feed   *discovery.Feed
	mu     sync.Mutex
	pinned map[uint64]pin
	bytes  int64                    // what the pinned entries take: the sum of their costs
	max    int64                    // what they may take
	again  map[discovery.Topic]bool // topics of which lookAgain will notify the observers
}

// pin is a pinned entry, with its cost in bytes as of when it was pinned.
type pin struct {
	*entry
	cost int64
}

func (n *notifier) init(c *Cache) {
	n.c = c
	n.feed = discovery.NewFeed(n.idle)
	n.pinned, n.again = map[uint64]pin{}, map[discovery.Topic]bool{}
	n.max = c.cfg.MaxBytes / pinnedShare
}

// Watch implements [discovery.Watcher].
func (c *Cache) Watch(t discovery.Topic, o discovery.Observer) *discovery.Watch {
	return c.notify.feed.Watch(t, o)
}

// installed is called after the record was of an entry, which is nil for none, has been replaced
// by is. If the two records differ only in whether they are vouched for, nothing is published.
func (n *notifier) installed(e *entry, was, is *record) {
	k := n.c.kindOf(e)
	if was == nil || was.exists() != is.exists() || !k.same(was.value, is.value) {
		n.feed.Publish(k.topic(e.name), time.Time{})
	}
}

// expect notes that an event has announced a change, and that the new value is being read.
func (n *notifier) expect(t discovery.Topic) {
	if n.feed.Watches() > 0 {
		n.feed.Expect(t, time.Now())
	}
}

// keep pins an entry that ristretto does not keep, if somebody watches it and there is room. It
// reports whether it has pinned the entry. The entry's shard is locked. An observer that begins
// to watch later reads the entry anew if it is gone by then, or is notified by left.
func (n *notifier) keep(hash uint64, e *entry) bool {
	if !n.feed.Watched(n.c.kindOf(e).topic(e.name)) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	was, is := n.pinned[hash], pin{e, n.c.cost(e)}
	if n.bytes-was.cost+is.cost > n.max {
		return false
	}
	n.pinned[hash] = is
	n.bytes += is.cost - was.cost
	return true
}

// left is called after an entry of that cost has left the index. It notifies the observers that
// have begun to watch since keep was called, so that they read the entry again. If there was no
// room to pin the entry it does so later, because ristretto might evict the entry again at once.
func (n *notifier) left(t discovery.Topic, cost int64) {
	n.mu.Lock()
	full := n.bytes+cost > n.max
	n.mu.Unlock()
	if full {
		n.lookAgain(t)
	} else {
		n.feed.Publish(t, time.Time{})
	}
}

// idle is called when nobody watches a topic any more. If the topic's entry is pinned, idle hands
// it over to ristretto, or to the absentees.
func (n *notifier) idle(t discovery.Topic) {
	at := slices.IndexFunc(n.c.kinds, func(k *kind) bool { return k.name == t.Kind })
	if at < 0 {
		return // the topic is not of an entry: a view, or a domain, publishes it
	}
	k := n.c.kinds[at]
	hash := k.hash(t.Name)
	sh := n.c.index.shard(hash)
	sh.mu.Lock()
	n.mu.Lock()
	pinned := n.pinned[hash]
	e := pinned.entry
	free := e != nil && e.is(k, t.Name) && !n.feed.Watched(t)
	if free {
		delete(n.pinned, hash)
		n.bytes -= pinned.cost
	}
	n.mu.Unlock()
	sh.mu.Unlock()
	if free {
		n.c.settle(hash, e)
	}
}

// lookAgain notifies the observers of a topic after a while, because it may have changed.
func (n *notifier) lookAgain(topic discovery.Topic) {
	if !n.feed.Watched(topic) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.again[topic] {
		return
	}
	n.again[topic] = true
	time.AfterFunc(lookAgainAfter+rand.N(lookAgainAfter/2), func() {
		n.mu.Lock()
		delete(n.again, topic)
		n.mu.Unlock()
		n.feed.Publish(topic, time.Time{})
	})
}

func (n *notifier) pins() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.pinned)
}
