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
	// used counts the slots that hold a hash, entries those with an entry.
	used, entries int
	// loads holds the read in flight of an entry.
	loads map[uint64]*load
	// leaving holds keys whose watch is being removed. A new read of the key must
	// wait for that: the removal would take the new watch along.
	leaving map[uint64]chan struct{}
	_       [24]byte // keeps neighbours' locks off one cache line
}

// table is a hash table with linear probing. Its length is a power of two, and
// a quarter of it at least is empty.
type table []slot

// slot holds an entry under its hash. hash 0: empty, no look-up goes further.
// No entry: it has been deleted; a look-up goes on.
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

// entry returns what is held under the hash. Its name may be another's: the
// caller compares.
func (x *index) entry(hash uint64) *entry { return x.shard(hash).find(hash) }

func (x *index) entryAndLoad(hash uint64) (*entry, *load) {
	sh := x.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.find(hash), sh.loads[hash]
}

// home is where a look-up of the hash begins. The low bits chose the shard.
func (t table) home(hash uint64) uint64 { return hash / shards & uint64(len(t)-1) }

// find needs no lock. A slot that is given to another hash meanwhile may yield
// that one's entry, which the caller's comparison of names finds out.
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

// insert adds an entry under a hash that has none. sh.mu is held.
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

// put stores the entry in the slot of its hash, or the first empty one; fresh
// says that it was empty. The entry comes first: who sees the hash sees it.
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

// rebuild makes a table without deleted slots and with room for as many entries
// again. sh.mu is held.
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

// remove takes the entry under the hash out. sh.mu is held.
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

// each calls f for every entry that was there when it came to the entry's shard. It
// takes no lock: f may block, and an entry may have left when f is called with it.
func (x *index) each(f func(hash uint64, e *entry)) {
	for i := range x.shards {
		t := *x.shards[i].table.Load()
		for i := range t {
			// An entry without a hash is being put there just now.
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
