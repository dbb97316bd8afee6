package cache

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"magellan/internal/discovery"
)

const (
	// lookAgainAfter is how long observers of a thing that no ZooKeeper watch tells of
	// wait until they are told to look again; up to half of it is added at random.
	lookAgainAfter = time.Second
	// pinnedShare is the part of Config.MaxBytes that may be held on top of it
	// for entries that are watched and that ristretto does not keep.
	pinnedShare = 4
)

// notifier tells those who watch an answer that what it is made of has changed.
//
// An entry that is watched stays, and with it its watch in ZooKeeper, even if ristretto
// evicts it: nothing would tell of its changes otherwise. It is pinned then, until nobody
// watches it. Beyond a bound on pinned entries, if a thing cannot be kept at all, or if its
// read has failed, its observers are told to look again after a while.
type notifier struct {
	c      *Cache
	feed   *discovery.Feed
	mu     sync.Mutex
	pinned map[uint64]*entry
	max    int // of pinned
	again  map[discovery.Topic]bool
}

func (n *notifier) init(c *Cache) {
	n.c = c
	n.feed = discovery.NewFeed(n.idle)
	n.pinned, n.again = map[uint64]*entry{}, map[discovery.Topic]bool{}
	n.max = int(c.cfg.MaxBytes / pinnedShare / entryBytes)
}

// Watch implements [discovery.Watcher].
func (c *Cache) Watch(t discovery.Topic, o discovery.Observer) *discovery.Watch {
	return c.notify.feed.Watch(t, o)
}

// installed is called after was, nil for none, has been replaced by is in the
// entry. That a record is vouched for again is no change.
func (n *notifier) installed(e *entry, was, is *record) {
	k := n.c.kindOf(e)
	if was == nil || was.exists() != is.exists() || !k.same(was.value, is.value) {
		n.feed.Publish(k.topic(e.name), time.Time{})
	}
}

// expect notes that a change has been learnt of, and is being read.
func (n *notifier) expect(t discovery.Topic) {
	if n.feed.Watches() > 0 {
		n.feed.Expect(t, time.Now())
	}
}

// keep reports whether an entry that ristretto does not keep is to stay for
// those who watch it, and pins it. The entry's shard is locked: who begins to
// watch later finds that the entry has gone, or is told by left.
func (n *notifier) keep(hash uint64, e *entry) bool {
	if !n.feed.Watched(n.c.kindOf(e).topic(e.name)) {
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
func (n *notifier) left(t discovery.Topic) {
	n.mu.Lock()
	full := len(n.pinned) >= n.max
	n.mu.Unlock()
	if full {
		n.lookAgain(t)
	} else {
		n.feed.Publish(t, time.Time{})
	}
}

// idle gives a pinned entry that nobody watches any more its place anew.
func (n *notifier) idle(t discovery.Topic) {
	at := slices.IndexFunc(n.c.kinds, func(k *kind) bool { return k.name == t.Kind })
	if at < 0 {
		return // of a view, or of what a domain makes of several
	}
	k := n.c.kinds[at]
	hash := k.hash(t.Name)
	sh := n.c.index.shard(hash)
	sh.mu.Lock()
	n.mu.Lock()
	e := n.pinned[hash]
	free := e != nil && e.is(k, t.Name) && !n.feed.Watched(t)
	if free {
		delete(n.pinned, hash)
	}
	n.mu.Unlock()
	sh.mu.Unlock()
	if free {
		n.c.settle(hash, e)
	}
}

// lookAgain tells those who watch a topic, in a while, that it may have changed.
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
