package cache

import "sync"

const shards = 64

// index finds every entry the cache has, whether ristretto has heard of it yet
// or not, by the hash of the shop's name. Two names of one hash cannot both be
// kept: the second is read without being kept.
type index struct {
	shards [shards]shard
}

type shard struct {
	mu      sync.Mutex
	entries map[uint64]*entry
	// loads holds the read in flight of an entry.
	loads map[uint64]*load
	// leaving holds keys whose watch is being removed. A new read of the key must
	// wait for that: the removal would take the new watch along.
	leaving map[uint64]chan struct{}
	_       [32]byte // keeps neighbours' locks off one cache line
}

func (x *index) init() {
	for i := range x.shards {
		sh := &x.shards[i]
		sh.entries = map[uint64]*entry{}
		sh.loads = map[uint64]*load{}
		sh.leaving = map[uint64]chan struct{}{}
	}
}

func (x *index) shard(hash uint64) *shard { return &x.shards[hash%shards] }

func (x *index) entry(hash uint64) *entry {
	e, _ := x.entryAndLoad(hash)
	return e
}

func (x *index) entryAndLoad(hash uint64) (*entry, *load) {
	sh := x.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.entries[hash], sh.loads[hash]
}

// each calls f for every entry. f must not block: the entry's shard is locked.
func (x *index) each(f func(hash uint64, e *entry)) {
	for i := range x.shards {
		sh := &x.shards[i]
		sh.mu.Lock()
		for h, e := range sh.entries {
			f(h, e)
		}
		sh.mu.Unlock()
	}
}

func (x *index) len() (entries, loading int) {
	for i := range x.shards {
		sh := &x.shards[i]
		sh.mu.Lock()
		entries += len(sh.entries)
		loading += len(sh.loads)
		sh.mu.Unlock()
	}
	return entries, loading
}
