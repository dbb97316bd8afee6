package discovery

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Topic is something of which answers are made and whose changes can be watched. Each
// domain has kinds of its own.
type Topic struct {
	// Kind is the kind of thing.
	Kind string
	// Name distinguishes the things of one kind. It is empty if there is only one.
	Name string
}

// Observer is notified of changes.
type Observer interface {
	// Changed is called when the topic may have changed since the observer last read it.
	// at is when this process learnt of the change, zero if that is unknown. Changed is
	// called with a lock held, on the goroutine that handles the change. So it must only
	// take a note and return: it must not block, and must not start or stop a Watch.
	Changed(at time.Time)
}

// Watch is one observer of one topic.
type Watch struct {
	feed       *Feed
	observer   Observer
	topic      Topic
	prev, next *Watch // under the shard's lock; prev is nil once the watch is stopped
}

// Feed notifies observers of changes. It takes no memory for a topic that nobody watches,
// and while nobody watches anything a change costs one atomic load. Use [NewFeed]. A Feed is
// safe for concurrent use.
//
// An observer misses no change if it watches before it reads, and if every change is stored
// before it is published.
type Feed struct {
	idle    func(Topic)
	seed    maphash.Seed
	watches atomic.Int64
	shards  [feedShards]feedShard
}

const feedShards = 64

type feedShard struct {
	mu     sync.Mutex
	topics map[Topic]*watches
	_      [48]byte // the locks of two shards must not share a cache line
}

// watches are the watches of one topic, as a ring around root.
type watches struct {
	root Watch
	// expected is when this process learnt of a change that has not been published yet;
	// zero if there is none.
	expected time.Time
}

// NewFeed returns a Feed that nobody watches. If idle is not nil, [Watch.Stop] calls it
// after the last watch of a topic has been stopped. By then a new watch of the topic may
// have begun.
func NewFeed(idle func(Topic)) *Feed {
	f := &Feed{idle: idle, seed: maphash.MakeSeed()}
	for i := range f.shards {
		f.shards[i].topics = make(map[Topic]*watches)
	}
	return f
}

func (f *Feed) shard(t Topic) *feedShard {
	return &f.shards[(maphash.String(f.seed, t.Name)+uint64(len(t.Kind)))%feedShards]
}

// Watch notifies o of changes of t until the Watch is stopped.
func (f *Feed) Watch(t Topic, o Observer) *Watch {
	w := &Watch{feed: f, observer: o, topic: t}
	f.watches.Add(1)
	sh := f.shard(t)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	all := sh.topics[t]
	if all == nil {
		all = new(watches)
		all.root.prev, all.root.next = &all.root, &all.root
		sh.topics[t] = all
	}
	w.prev, w.next = all.root.prev, &all.root
	w.prev.next, w.next.prev = w, w
	return w
}

// Stop ends the watch. Once Stop has returned, the observer is not called for this watch
// any more. Stop may be called again.
func (w *Watch) Stop() {
	sh := w.feed.shard(w.topic)
	sh.mu.Lock()
	if w.prev == nil {
		sh.mu.Unlock()
		return
	}
	last := w.prev == w.next
	w.prev.next, w.next.prev = w.next, w.prev
	w.prev, w.next = nil, nil
	if last {
		delete(sh.topics, w.topic)
	}
	sh.mu.Unlock()
	w.feed.watches.Add(-1)
	if last && w.feed.idle != nil {
		w.feed.idle(w.topic)
	}
}

// Watched reports whether anybody watches t.
func (f *Feed) Watched(t Topic) bool {
	if f.watches.Load() == 0 {
		return false
	}
	sh := f.shard(t)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.topics[t] != nil
}

// Watches returns the number of watches.
func (f *Feed) Watches() int64 { return f.watches.Load() }

// Expect notes that a change of t is being read, and that this process learnt of the change
// at the given time.
func (f *Feed) Expect(t Topic, at time.Time) {
	if f.watches.Load() == 0 {
		return
	}
	sh := f.shard(t)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if all := sh.topics[t]; all != nil && all.expected.IsZero() {
		all.expected = at
	}
}

// Publish notifies the observers of t that it has changed. at is when this process learnt
// of the change. If at is zero, observers get the time that [Feed.Expect] was given, if it
// was called.
func (f *Feed) Publish(t Topic, at time.Time) {
	if f.watches.Load() == 0 {
		return
	}
	sh := f.shard(t)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	all := sh.topics[t]
	if all == nil {
		return
	}
	if at.IsZero() {
		at = all.expected
	}
	all.expected = time.Time{}
	for w := all.root.next; w != &all.root; w = w.next {
		w.observer.Changed(at)
	}
}
