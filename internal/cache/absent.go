package cache

import (
	"maps"
	"slices"
	"sync"
)

// absentShare is the part of Config.MaxBytes that may be held on top of it for
// things that do not exist.
const absentShare = 16

// absentees are the entries of things that do not exist, with their exists
// watches. They are kept apart from ristretto and few, so that whoever asks for
// names that do not exist, one after the other, pushes out nothing but those.
//
// Who comes in first goes first, except that one that was asked for since gets
// another round. A thing that comes into being goes over to ristretto; one that
// is deleted stays there, where its place is paid for.
type absentees struct {
	mu    sync.Mutex
	max   int
	in    map[uint64]*entry
	order queue[absentee]
	// due are those that are still to be audited in this round.
	due rota[*entry]
}

type absentee struct {
	admission
	heat uint32 // when it was put in line
}

func (a *absentees) init(maxBytes int64) {
	a.max = int(max(8, maxBytes/absentShare/entryBytes))
	a.in = map[uint64]*entry{}
}

// add takes an entry in. It returns the one that must go for it, if any.
func (a *absentees) add(hash uint64, e *entry) (out admission, full bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.order.len() > 2*len(a.in)+minSlots {
		a.tidy()
	}
	a.in[hash] = e
	a.order.push(absentee{admission{hash, e}, e.heat.Load()})
	for spared := 0; len(a.in) > a.max; {
		next, ok := a.order.pop()
		if !ok {
			break
		}
		if a.in[next.hash] != next.e {
			continue // it has left
		}
		if heat := next.e.heat.Load(); heat != next.heat && spared < 8 {
			spared++
			a.order.push(absentee{next.admission, heat})
			continue
		}
		delete(a.in, next.hash)
		return next.admission, true
	}
	return admission{}, false
}

// tidy takes those out of the line that have left. a.mu is held.
func (a *absentees) tidy() {
	for _, next := range a.order.drain() {
		if a.in[next.hash] == next.e {
			a.order.push(next)
		}
	}
}

// remove takes an entry out, and reports whether it was in.
func (a *absentees) remove(hash uint64, e *entry) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.in[hash] != e {
		return false
	}
	delete(a.in, hash)
	return true
}

// next returns up to n of them, the next ones to be audited.
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

// settle gives an entry that has been read its place among those that stay for
// a while: what exists in ristretto, the others among the absentees.
func (c *Cache) settle(hash uint64, e *entry) {
	rec := e.rec.Load()
	if rec == nil || rec.exists() {
		c.admit(hash, e)
		return
	}
	if out, full := c.absent.add(hash, e); full {
		c.drop(out.hash, out.e)
	}
}
