package discovery

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Topic is something that answers are made from and whose changes can be
// watched. Each domain has kinds of its own.
type Topic struct {
	// Kind is the kind of thing.
	Kind string
	// Name tells things of one kind apart; empty where there is but one.
	Name string
}

// Observer is told of changes.
type Observer interface {
	// Changed says that the topic may be another than it was when the observer
	// last looked; at is when this process learnt of the change, zero where that
	// is unknown. It runs where changes come in, with a lock held: it takes a
	// note and returns, and neither blocks nor starts or stops a Watch.
	Changed(at time.Time)
}

// Watch is one observer of one topic.
type Watch struct {
	feed       *Feed
	observer   Observer
	topic      Topic
	prev, next *Watch // under the shard's lock; prev is nil once stopped
}

// Feed tells observers of changes. Whatever is read from has one. It holds nothing for a
// topic that nobody watches, and a change costs an atomic load while nobody
// watches at all. Use [NewFeed]. It is safe for concurrent use.
//
// No change is missed by an observer that watches first and looks then, if
// whoever makes the change stores it first and publishes then.
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
	_      [48]byte // keeps neighbours' locks off one cache line
}

// watches are those of one topic: a ring around root.
type watches struct {
	root Watch
	// expected is when a change was announced that has not been published yet.
	expected time.Time
}

// NewFeed returns a Feed that nobody watches. idle, unless nil, is called when
// the last watch of a topic has been stopped, by whoever stopped it; a new watch
// of the topic may have begun by then.
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

// Watch begins to tell o of changes of t, until the Watch is stopped.
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

// Stop ends the watch: once it has returned the observer is not called for it
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

// Watches is the number of watches.
func (f *Feed) Watches() int64 { return f.watches.Load() }

// Expect notes that a change of t is being read, and that it was learnt of at
// the given time.
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

// Publish tells the observers of t that it has changed. at is as in
// [Observer]: zero stands for the time that Expect was given, if it was.
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
