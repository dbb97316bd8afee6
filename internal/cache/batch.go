package cache

import (
	"context"
	"time"
	"unsafe"

	"magellan/internal/discovery"
)

// read is a [discovery.Read] without its type of value; TestReadsAreAlike compares the two.
type read struct {
	value unsafe.Pointer
	meta  discovery.Meta
	err   error
}

// GetMany implements [discovery.KeyedReader]: things in memory are answered at once, the
// others are read together.
func (k *Keyed[T]) GetMany(ctx context.Context, names []string, opt discovery.ReadOptions, out []discovery.Read[T]) {
	if len(names) == 0 {
		return
	}
	out = out[:len(names)]
	k.k.getMany(ctx, names, opt, unsafe.Slice((*read)(unsafe.Pointer(&out[0])), len(out)))
}

func (k *kind) getMany(ctx context.Context, names []string, opt discovery.ReadOptions, out []read) {
	var waits []wait
	var done syncs
	if opt.Fresh || opt.MinZxid != 0 {
		done = syncs{}
	}
	now := k.c.now()
	var b batch
	for from := 0; from < len(names); from += batchSize {
		piece := names[from:min(from+batchSize, len(names))]
		k.lookupBatch(piece, &b)
		for i, name := range piece {
			rec := k.fromMemory(&b, i, opt, now, &out[from+i])
			if rec != nil && !rec.renewable(out[from+i].meta) {
				continue
			}
			w := wait{at: from + i, hash: b.hashes[i], restored: rec}
			if rec != nil {
				w.r, w.err = k.renewal(ctx, b.hashes[i], b.entries[i])
			} else {
				w.r, w.err = k.acquire(ctx, b.hashes[i], name, done != nil)
				if w.err == nil && done != nil && (!w.r.started || opt.MinZxid != 0) {
					done.start(ctx, w.r.session(), opt.MinZxid)
				}
			}
			waits = append(waits, w)
		}
	}
	if len(waits) == 0 {
		return
	}
	// Whatever has to be read after the syncs is under way before any of it is waited for.
	for i := range waits {
		if w := &waits[i]; done != nil && w.err == nil && w.restored == nil {
			w.r, w.evicted, w.err = k.confirm(ctx, w.hash, opt, w.r, done)
		}
	}
	for i := range waits {
		k.conclude(ctx, &waits[i], names[waits[i].at], opt, done, &out[waits[i].at])
	}
	// What was in memory has grown older while the others were waited for.
	waited := time.Duration(k.c.now() - now)
	for i := range names {
		if len(waits) > 0 && waits[0].at == i {
			waits = waits[1:]
			continue
		}
		out[i].meta.Age += waited
	}
}

// batchSize is how many names are looked up side by side.
const batchSize = 64

// batch is what lookupBatch finds.
type batch struct {
	hashes  [batchSize]uint64
	entries [batchSize]*entry
	// records has nil for a thing that is not in memory.
	records [batchSize]*record
	touched int64
}

// wait is one of many things that has to be read before it can be answered for.
type wait struct {
	// at is its place among the names, hash that of its name.
	at   int
	hash uint64
	r    reading
	err  error
	// restored is the record that a snapshot has brought, if that is why it is read.
	restored *record
	// evicted: it left the cache while it was waited for.
	evicted bool
}

// lookupBatch is lookup for up to batchSize names. With a million entries each step of a
// lookup (slot, entry, name and record) misses the processor's caches. If one step is done
// for all names before the next step begins, these misses overlap; BenchmarkMany beside
// BenchmarkGet shows what that is worth.
func (k *kind) lookupBatch(names []string, b *batch) {
	c := k.c
	touched := int64(0)
	for i, name := range names {
		hash := k.hash(name)
		b.hashes[i] = hash
		t := *c.index.shard(hash).table.Load()
		touched += int64(t[t.home(hash)].hash.Load())
	}
	for i := range names {
		e := c.index.entry(b.hashes[i])
		b.entries[i] = e
		if e != nil {
			touched += int64(len(e.name))
		}
	}
	for i := range names {
		b.records[i] = nil
		if e := b.entries[i]; e != nil && e.name != "" {
			touched += int64(e.name[0])
			if rec := e.rec.Load(); rec != nil {
				touched += rec.zxid
				b.records[i] = rec
			}
		}
	}
	for i, name := range names {
		if b.records[i] != nil && !b.entries[i].is(k, name) {
			b.records[i] = nil
		}
	}
	b.touched = touched // or the compiler would leave the loads out
}

// fromMemory answers for the i-th name of a batch, and returns the record that it answers
// from; nil if the thing has to be read.
func (k *kind) fromMemory(b *batch, i int, opt discovery.ReadOptions, now instant, out *read) *record {
	rec := b.records[i]
	if rec != nil && opt.MinZxid != 0 {
		rec = b.entries[i].reaches(opt.MinZxid)
	}
	if rec == nil || opt.Fresh {
		return nil
	}
	out.meta = k.c.serve(b.entries[i], b.hashes[i], rec, now)
	out.value, out.err = k.answer(rec)
	return rec
}

// conclude waits for one thing that has to be read. done is nil unless the answers must be
// fresh.
func (k *kind) conclude(ctx context.Context, w *wait, name string, opt discovery.ReadOptions, done syncs, out *read) {
	switch {
	case w.restored != nil:
		out.value, out.meta, out.err = k.renewed(ctx, w.r, w.err, w.restored)
	case w.evicted:
		r, err := k.acquire(ctx, w.hash, name, true)
		out.value, out.meta, out.err = k.fresh(ctx, w.hash, name, opt, r, err, done)
	case done != nil:
		out.value, out.meta, out.err = k.confirmed(ctx, opt.MinZxid, w.r, w.err)
	default:
		out.value, out.meta, out.err = k.await(ctx, w.r, w.err)
	}
}
