package cache

import (
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"

	"magellan/internal/zk"
)

// entryBytes is what one kept entry costs besides its name and path, in bytes: the entry, its
// record, its slots in the index and in ristretto's maps and sketches, and libzookeeper's watch.
// A million things with names of 76 bytes took 663 MiB in all (docs/benchmarks.md), and
// [Cache.cost] comes to the same.
const entryBytes = 450

// countersPerEntry is the number of counters in ristretto's frequency sketch for each entry that
// has room.
const countersPerEntry = 4

// admission is one entry that ristretto is to be told of.
type admission struct {
	hash uint64
	e    *entry
}

// evictions has, for each bucket of hashes, when one of its keys last left the cache or was last
// read without being kept. A session must have synced since then before it reads such a key
// again, because its server may lag behind what was served.
type evictions [4096]atomic.Int64

func (v *evictions) note(hash uint64, at instant)  { v[hash>>52].Store(int64(at)) }
func (v *evictions) last(hash uint64) (at instant) { return instant(v[hash>>52].Load()) }

func (c *Cache) openRistretto() (err error) {
	c.keep, err = ristretto.NewCache(&ristretto.Config[uint64, *entry]{
		NumCounters:        max(1000, countersPerEntry*c.cfg.MaxBytes/entryBytes),
		MaxCost:            c.cfg.MaxBytes,
		BufferItems:        64,
		IgnoreInternalCost: true, // which entryBytes includes
		OnEvict: func(i *ristretto.Item[*entry]) {
			// When ristretto makes room for an entry its sample may contain a key
			// twice. Then it evicts the key twice, the second time without a value.
			if i.Value == nil {
				return
			}
			c.metrics.evictions.Inc()
			c.drop(i.Key, i.Value)
		},
		OnReject: func(i *ristretto.Item[*entry]) {
			c.metrics.rejections.Inc()
			c.drop(i.Key, i.Value)
		},
	})
	return err
}

// cost is what ristretto counts for an entry, in bytes. The name is in memory three times: in the
// entry, and twice inside libzookeeper as part of the path.
func (c *Cache) cost(e *entry) int64 { return bareCost(e) + c.kindOf(e).sizeOf(e.rec.Load()) }

// bareCost is cost without the memory of the value.
func bareCost(e *entry) int64 { return entryBytes + 3*int64(len(e.name)) }

// sizeOf is the memory that a record's value takes, in bytes. The record may be nil.
func (k *kind) sizeOf(rec *record) int64 {
	if k.size == nil || rec == nil || rec.value == nil {
		return 0
	}
	return int64(k.size(rec.value))
}

// admit tells ristretto of an entry, once, after the entry's first read. It must not block,
// because it runs on a dispatcher goroutine.
func (c *Cache) admit(hash uint64, e *entry) {
	if c.keep.Set(hash, e, c.cost(e)) {
		return
	}
	// Ristretto's buffer is full, so that ristretto has discarded the entry.
	c.readmit.mu.Lock()
	c.readmit.waiting.push(admission{hash, e})
	c.readmit.mu.Unlock()
	select {
	case c.readmit.wake <- struct{}{}:
	default:
	}
}

// resize tells ristretto of the cost of an entry whose value takes another amount of memory than
// before. Ristretto makes room for what has grown when the next entry comes. It is never told of
// an entry that has left the index, because it might take that for the entry which has come after.
func (c *Cache) resize(hash uint64, e *entry) {
	sh := c.index.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.find(hash) == e {
		c.keep.Set(hash, e, c.cost(e))
	}
}

// readmitLoop tells ristretto again of entries for which its buffer had no room, and waits each
// time that the buffer is full.
func (c *Cache) readmitLoop() {
	for {
		select {
		case <-c.closing:
			return
		case <-c.readmit.wake:
		}
		for {
			c.readmit.mu.Lock()
			a, ok := c.readmit.waiting.pop()
			c.readmit.mu.Unlock()
			if !ok {
				break
			}
			for !c.keep.Set(a.hash, a.e, c.cost(a.e)) {
				c.keep.Wait()
			}
		}
	}
}

// drop takes an entry out of the cache, unless somebody watches it, and begins to remove its
// watch from the server. Until the watch is gone the key stays in leaving. For what ristretto
// evicts or rejects, drop runs on ristretto's goroutine.
func (c *Cache) drop(hash uint64, e *entry) {
	k := c.kindOf(e)
	path := k.path(e.name)
	sh := c.index.shard(hash)
	sh.mu.Lock()
	if sh.find(hash) != e || c.notify.keep(hash, e) {
		sh.mu.Unlock()
		return
	}
	l := sh.loads[hash]
	leaving := make(chan struct{})
	sh.remove(hash)
	sh.leaving[hash] = leaving
	c.evicted.note(hash, c.now())
	// A read that is under way will set the watch again, so the watch is removed after it.
	r := &removal{c: c, s: e.rec.Load().epoch.session, hash: hash, path: path, watch: k.watch(), gone: leaving}
	if l != nil {
		l.removal = r
	}
	sh.mu.Unlock()
	c.notify.left(k.topic(e.name), c.cost(e))
	c.problems.forget(path) // nobody knows any more how the znode is
	if l == nil {
		r.s.submit(r)
	}
}

// removal removes the watch of an entry that has left the cache from the server. It is a request
// of the entry's session.
type removal struct {
	c     *Cache
	s     *session
	hash  uint64
	path  string
	watch zk.WatchKind
	gone  chan struct{}
	tries int
}

func (r *removal) issue() {
	if r.path == r.c.cfg.Root {
		// The cache may have a watch of its own on the root, which is the same watch to
		// ZooKeeper. It stays.
		r.c.sessions.unreserve(r.s, r.path)
		r.done()
		r.s.vacate(upkeep) // pump goes on with the next request
		return
	}
	r.s.client.RemoveWatchAsync(r.path, r.watch, func(err error) {
		switch {
		case !transient(err): // the watch was removed, or had fired already
			r.c.sessions.unreserve(r.s, r.path)
			r.done()
		case r.tries < maxTries:
			r.tries++
			r.s.submit(r)
		default:
			r.fail(err)
		}
		r.s.release()
	})
}

// fail leaves the watch on the server until its ZooKeeper session ends. The watch does no harm,
// but it takes its bytes in SetWatches, so that these stay reserved.
func (r *removal) fail(error) {
	r.s.orphan(r.path)
	r.done()
}

func (r *removal) done() {
	r.c.evicted.note(r.hash, r.c.now())
	sh := r.c.index.shard(r.hash)
	sh.mu.Lock()
	delete(sh.leaving, r.hash)
	sh.mu.Unlock()
	close(r.gone)
}
