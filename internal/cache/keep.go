package cache

import (
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"

	"magellan/internal/zk"
)

// entryBytes is what one kept entry costs besides its name and path, in bytes:
// the entry, its record, its slots in the index and in ristretto's maps and
// sketches, and libzookeeper's watch. A million things with names of 76 bytes
// took 663 MiB in all (docs/benchmarks.md), which with [Cache.cost] it is.
const entryBytes = 450

// countersPerEntry sizes ristretto's frequency sketch.
const countersPerEntry = 4

// admission is one entry on its way into ristretto.
type admission struct {
	hash uint64
	e    *entry
}

// evictions remembers when a key of each hash bucket last left the cache, or was
// answered without being kept. A new read of such a key must not be answered by a
// session that has not synced since: its server may lag behind what was served.
type evictions [4096]atomic.Int64

func (v *evictions) note(hash uint64, at instant)  { v[hash>>52].Store(int64(at)) }
func (v *evictions) last(hash uint64) (at instant) { return instant(v[hash>>52].Load()) }

func (c *Cache) openRistretto() (err error) {
	c.keep, err = ristretto.NewCache(&ristretto.Config[uint64, *entry]{
		NumCounters:        max(1000, countersPerEntry*c.cfg.MaxBytes/entryBytes),
		MaxCost:            c.cfg.MaxBytes,
		BufferItems:        64,
		IgnoreInternalCost: true, // entryBytes has it
		OnEvict: func(i *ristretto.Item[*entry]) {
			// To make room for one, ristretto may evict the same key twice, as its
			// sample may hold it twice; the second time it has no value any more.
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

// cost is what ristretto counts for an entry, in bytes. The name stands in the
// entry, and twice more inside libzookeeper as part of the path.
func (c *Cache) cost(e *entry) int64 { return entryBytes + 3*int64(len(e.name)) }

// admit tells ristretto of an entry: once, after its first read. It does not
// block, as it runs on a dispatcher goroutine.
func (c *Cache) admit(hash uint64, e *entry) {
	if c.keep.Set(hash, e, c.cost(e)) {
		return
	}
	// Ristretto's buffer is full and it has forgotten the entry.
	c.readmit.mu.Lock()
	c.readmit.waiting.push(admission{hash, e})
	c.readmit.mu.Unlock()
	select {
	case c.readmit.wake <- struct{}{}:
	default:
	}
}

// readmitLoop offers again what ristretto had no place for, at its pace.
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

// drop takes an entry out that ristretto does not keep, and its watch off the
// server. Until the watch is gone the key stays in leaving. It runs on
// ristretto's goroutine.
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
	// A read under way would set the watch again, so the removal follows it.
	r := &removal{c: c, s: e.rec.Load().epoch.session, hash: hash, path: path, gone: leaving}
	if l != nil {
		l.removal = r
	}
	sh.mu.Unlock()
	c.notify.left(k.topic(e.name))
	c.problems.resolve(path)
	if l == nil {
		r.s.submit(r)
	}
}

// removal takes the watch of an evicted entry off the server.
type removal struct {
	c     *Cache
	s     *session
	hash  uint64
	path  string
	gone  chan struct{}
	tries int
}

func (r *removal) issue() {
	r.s.client.RemoveWatchAsync(r.path, zk.WatchData, func(err error) {
		switch {
		case !transient(err): // removed, or it had fired already
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

// fail gives up: the watch stays until its session ends, and does no harm but
// to the budget, so it stays counted there.
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
