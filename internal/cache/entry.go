package cache

import (
	"sync/atomic"
	"time"
)

// entry is one thing's place in the cache. Its identity is stable: ristretto and the index
// hold the pointer, and only rec changes. It has 32 bytes, because there may be millions.
type entry struct {
	name string
	// rec is nil until the first read has come back.
	rec atomic.Pointer[record]
	// heat counts the seconds in which the entry was asked for. It orders revalidation. A
	// lost increment does no harm.
	heat atomic.Uint32
	// stamp has the number of the entry's kind in its highest 8 bits, which never
	// changes, and below it the last second in which the entry was asked for.
	stamp atomic.Uint32
}

const stampBits = 24 // of the second: it begins anew after 194 days, which does no harm

func newEntry(k *kind, name string) *entry {
	e := &entry{name: name}
	e.stamp.Store(uint32(k.number) << stampBits)
	return e
}

// kind is the number of the entry's kind.
func (e *entry) kind() uint8 { return uint8(e.stamp.Load() >> stampBits) }

// is reports whether the entry is that of a thing. Two things may have the same hash.
func (e *entry) is(k *kind, name string) bool { return e.name == name && e.kind() == k.number }

// touch notes that the entry was asked for at now. It reports whether that is the first
// time in this second. Ristretto is told of no more uses: its counters end at 15, and its
// lock and its memory would cost more than the answer.
func (e *entry) touch(now instant) bool {
	was := e.stamp.Load()
	is := was&^(1<<stampBits-1) | uint32(time.Duration(now)/time.Second)&(1<<stampBits-1)
	if was == is {
		return false
	}
	e.stamp.Store(is)
	e.heat.Add(1)
	return true
}
