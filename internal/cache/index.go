package cache

import (
	"sync"
	"sync/atomic"
)

const shards = 64

// index finds every entry of the cache, whether ristretto has been told of it yet or not, by
// the hash of its name. Two things of one hash cannot both be kept: the second is read without
// being kept.
//
// Readers take no lock, so that a processor can have the cache misses of many lookups under
// way at once: see kind.lookupBatch. Writers hold their shard's mu.
type index struct {
	shards [shards]shard
}

type shard struct {
	table atomic.Pointer[table]

	mu sync.Mutex
	// used is the number of slots with a hash, entries the number of those with an entry.
	used, entries int
	// loads has the read that is under way of an entry.
	loads map[uint64]*load
	// leaving has the keys whose watch is being removed. A new read of such a key must wait
	// until the watch is gone, because the removal would remove the new watch as well.
	leaving map[uint64]chan struct{}
	_       [24]byte // the locks of two shards must not share a cache line
}

// table is a hash table with linear probing. Its length is a power of two, and at least a
// quarter of its slots are empty.
type table []slot

// slot has an entry and its hash. If the hash is 0 the slot is empty, and a look-up ends there.
// If there is a hash and no entry, the entry was removed, and a look-up goes on.
type slot struct {
	hash  atomic.Uint64
	entry atomic.Pointer[entry]
}

const minSlots = 16

func (x *index) init() {
	for i := range x.shards {
		sh := &x.shards[i]
		t := make(table, minSlots)
		sh.table.Store(&t)
		sh.loads = map[uint64]*load{}
		sh.leaving = map[uint64]chan struct{}{}
	}
}

func (x *index) shard(hash uint64) *shard { return &x.shards[hash%shards] }

// entry returns the entry under the hash. The caller has to compare the names, because the entry
// may be of another thing with the same hash.
func (x *index) entry(hash uint64) *entry { return x.shard(hash).find(hash) }

func (x *index) entryAndLoad(hash uint64) (*entry, *load) {
	sh := x.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.find(hash), sh.loads[hash]
}

// home is the slot at which a look-up of the hash begins. The low bits of the hash have chosen
// the shard.
func (t table) home(hash uint64) uint64 { return hash / shards & uint64(len(t)-1) }

// find returns the entry under the hash, nil if there is none. It needs no lock. The caller has
// to compare the names: see index.entry.
func (sh *shard) find(hash uint64) *entry {
	t := *sh.table.Load()
	key := max(1, hash)
	for i := t.home(hash); ; i = (i + 1) & uint64(len(t)-1) {
		switch t[i].hash.Load() {
		case key:
			return t[i].entry.Load()
		case 0:
			return nil
		}
	}
}

// insert adds an entry under a hash that has no entry. sh.mu is held.
func (sh *shard) insert(hash uint64, e *entry) {
	sh.entries++
	t := *sh.table.Load()
	if (sh.used+1)*4 > len(t)*3 {
		t = sh.rebuild(t)
	}
	if t.put(hash, e) {
		sh.used++
	}
}

// put stores the entry in the slot of its hash, or in the first empty slot. fresh says that the
// slot was empty. put stores the entry before the hash, so that a reader that sees the hash
// sees the entry as well.
func (t table) put(hash uint64, e *entry) (fresh bool) {
	key := max(1, hash)
	for i := t.home(hash); ; i = (i + 1) & uint64(len(t)-1) {
		switch t[i].hash.Load() {
		case key:
			t[i].entry.Store(e)
			return false
		case 0:
			t[i].entry.Store(e)
			t[i].hash.Store(key)
			return true
		}
	}
}

// rebuild makes a table in which no entry has been removed, with room for twice as many entries
// as there are. sh.mu is held.
func (sh *shard) rebuild(old table) table {
	n := minSlots
	for n < 2*sh.entries {
		n *= 2
	}
	t := make(table, n)
	sh.used = 0
	for i := range old {
		if e := old[i].entry.Load(); e != nil {
			t.put(old[i].hash.Load(), e)
			sh.used++
		}
	}
	sh.table.Store(&t)
	return t
}

// remove removes the entry under the hash. sh.mu is held.
func (sh *shard) remove(hash uint64) {
	t := *sh.table.Load()
	key := max(1, hash)
	for i := t.home(hash); ; i = (i + 1) & uint64(len(t)-1) {
		switch t[i].hash.Load() {
		case key:
			if t[i].entry.Swap(nil) != nil {
				sh.entries--
			}
			return
		case 0:
			return
		}
	}
}

// each calls f for every entry that is in its shard when each begins with that shard. It takes
// no lock, so f may block. An entry may have been removed when f is called with it.
func (x *index) each(f func(hash uint64, e *entry)) {
	for i := range x.shards {
		t := *x.shards[i].table.Load()
		for i := range t {
			// If there is an entry and no hash, put is storing them now.
			if e, hash := t[i].entry.Load(), t[i].hash.Load(); e != nil && hash != 0 {
				f(hash, e)
			}
		}
	}
}

func (x *index) len() (entries, loading int) {
	for i := range x.shards {
		sh := &x.shards[i]
		sh.mu.Lock()
		entries += sh.entries
		loading += len(sh.loads)
		sh.mu.Unlock()
	}
	return entries, loading
}
