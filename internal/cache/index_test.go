package cache

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestIndexAgainstMap: whatever is inserted and removed, the index holds what a
// map holds. Few hashes and one shard make for long probes and many deletions.
func TestIndexAgainstMap(t *testing.T) {
	var x index
	x.init()
	want := map[uint64]*entry{}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 50_000 {
		hash := uint64(r.IntN(3000)) * shards // all of shard 0; hash 0 too
		if r.IntN(4) == 0 {
			hash = hash << 40 // homes in the same slot as many others
		}
		sh := x.shard(hash)
		sh.mu.Lock()
		switch {
		case want[hash] == nil:
			want[hash] = &entry{name: fmt.Sprint(hash)}
			sh.insert(hash, want[hash])
		case r.IntN(3) > 0 || i > 25_000:
			delete(want, hash)
			sh.remove(hash)
			sh.remove(hash) // twice does no harm
		}
		sh.mu.Unlock()
		if probe := uint64(r.IntN(3000)) * shards; x.entry(probe) != want[probe] {
			t.Fatalf("step %d: %d holds %v, want %v", i, probe, x.entry(probe), want[probe])
		}
	}
	for hash, e := range want {
		if x.entry(hash) != e {
			t.Fatalf("%d holds %v, want %v", hash, x.entry(hash), e)
		}
	}
	n := 0
	x.each(func(hash uint64, e *entry) {
		if want[hash] != e && !(hash == 1 && want[0] == e) {
			t.Errorf("each: %d holds %v", hash, e)
		}
		n++
	})
	if entries, _ := x.len(); n != len(want) || entries != n {
		t.Errorf("%d entries, %d counted, want %d", n, entries, len(want))
	}
}

// TestIndexReadersTakeNoLock: while writers insert and remove, readers find an
// entry that stays, and never one of another hash under its name.
func TestIndexReadersTakeNoLock(t *testing.T) {
	var x index
	x.init()
	const stays = 7 * shards
	kept := &entry{name: "kept"}
	x.shard(stays).insert(stays, kept)
	done := make(chan struct{})
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if e := x.entry(stays); e != kept {
					t.Errorf("found %v", e)
					return
				}
			}
		})
	}
	sh := x.shard(stays)
	for i := range uint64(100_000) {
		hash := (100 + i%1000) * shards
		sh.mu.Lock()
		if sh.find(hash) == nil {
			sh.insert(hash, &entry{name: fmt.Sprint(hash)})
		} else {
			sh.remove(hash)
		}
		sh.mu.Unlock()
	}
	close(done)
	running.Wait()
}
