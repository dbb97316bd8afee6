package cache

import (
	"maps"
	"slices"
	"sync"
)

// absentShare bounds the memory of absent things: their entries may take Config.MaxBytes /
// absentShare on top of Config.MaxBytes.
const absentShare = 16

// absentees are the entries of things that do not exist, each with its exists watch. They are
// kept outside of ristretto, and their number is bounded. So a client that asks for many names
// that do not exist causes the eviction of other absentees only.
//
// The absentee that came first is dropped first, except that an absentee that was asked for
// since then goes back to the end of the queue. If the thing of an absentee is created, its entry
// is handed over to ristretto. If a thing of ristretto's is deleted, its entry stays in
// ristretto, which counts its cost already.
type absentees struct {
	mu sync.Mutex
	// bytes is what they take, and max what they may take.
	bytes, max int64
	in         map[uint64]*entry
	order      queue[absentee]
	// due are the absentees that are still to be audited in this round.
	due rota[*entry]
}

type absentee struct {
	admission
	heat uint32 // that of the entry when it was put in the queue
}

func (a *absentees) init(maxBytes int64) {
	a.max = max(8*entryBytes, maxBytes/absentShare)
	a.in = map[uint64]*entry{}
}

// add adds an entry. full says that there are too many: the caller must drop out.
func (a *absentees) add(hash uint64, e *entry) (out admission, full bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.order.len() > 2*len(a.in)+minSlots {
		a.tidy()
	}
	if was := a.in[hash]; was != nil {
		a.bytes -= bareCost(was)
	}
	a.in[hash] = e
	a.bytes += bareCost(e)
	a.order.push(absentee{admission{hash, e}, e.heat.Load()})
	return a.first()
}

// excess says that there are still too many after add: the caller must drop out as well.
func (a *absentees) excess() (out admission, full bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.first()
}

// first takes out the first absentee if there are too many. a.mu is held.
func (a *absentees) first() (out admission, full bool) {
	for spared := 0; a.bytes > a.max; {
		next, ok := a.order.pop()
		if !ok {
			break
		}
		if a.in[next.hash] != next.e {
			continue // it is no absentee any more
		}
		if heat := next.e.heat.Load(); heat != next.heat && spared < 8 {
			spared++
			a.order.push(absentee{next.admission, heat})
			continue
		}
		a.forget(next.hash, next.e)
		return next.admission, true
	}
	return admission{}, false
}

// tidy removes from the queue what is no absentee any more. a.mu is held.
func (a *absentees) tidy() {
	for _, next := range a.order.drain() {
		if a.in[next.hash] == next.e {
			a.order.push(next)
		}
	}
}

// remove removes an entry, and reports whether it was an absentee.
func (a *absentees) remove(hash uint64, e *entry) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.in[hash] != e {
		return false
	}
	a.forget(hash, e)
	return true
}

// forget takes out an entry that is in. a.mu is held.
func (a *absentees) forget(hash uint64, e *entry) {
	delete(a.in, hash)
	a.bytes -= bareCost(e)
}

// next returns up to n absentees: those that are to be audited next.
func (a *absentees) next(n int) []*entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.due.take(n, func() []*entry { return slices.Collect(maps.Values(a.in)) })
}

func (a *absentees) len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.in)
}

// settle hands an entry that has been read over to its keeper: ristretto if the thing exists, and
// the absentees otherwise.
func (c *Cache) settle(hash uint64, e *entry) {
	rec := e.rec.Load()
	if rec == nil || rec.exists() {
		c.admit(hash, e)
		return
	}
	for out, full := c.absent.add(hash, e); full; out, full = c.absent.excess() {
		c.drop(out.hash, out.e)
	}
}
