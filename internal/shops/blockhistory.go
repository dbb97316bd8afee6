package shops

import (
	"slices"
	"sync"
	"time"
)

// MaxVersions is how many of the last versions of a blocklist are known by what
// has changed since.
const MaxVersions = 4096

// maxChanges is how many changes of single prefixes are kept for them, of 56
// bytes each.
const maxChanges = 65_536

// history is what a blocklist has gone through by change and by expiry: its last
// versions, each as what makes it of the one before. All that descends from one
// Blocklist by Next shares a history, whose last version is the current one's.
//
// Each instant at which entries expire is a version of its own, whether anybody
// asks at that time or not. So replicas that are told of the same changes go
// through the same versions.
type history struct {
	mu sync.Mutex
	// steps are the last ones: steps[i] leads from version first+i to the next.
	steps [][]BlocklistChange
	first uint64
	// changes is the number of those in all steps.
	changes int
}

// place is where a Blocklist stands in its history.
type place struct {
	// known: the others have been set. They are not before anybody has told the time.
	known   bool
	version uint64
	// at is the instant that the version is of: all that has expired by then is no
	// part of it. next is when it changes by itself, or never.
	at, next moment
	// over: another Blocklist has followed, so that it stays at its version.
	over bool
}

// Version is what a [Blocklist] held at one time. Versions can be compared: equal
// ones hold the same.
type Version struct {
	history *history
	number  uint64
}

// Version returns the version of b at the time that now tells, which is the one to
// ask [Blocklist.Entries] for; or that of the time at which another Blocklist has
// followed b. now is called with a lock held, so that time goes one way for all who
// ask. It may only go back where somebody has set the clock: the version has nothing
// to do with those before then.
func (b *Blocklist) Version(now func() time.Time) (Version, time.Time) {
	b.history.mu.Lock()
	defer b.history.mu.Unlock()
	b.advance(momentOf(now()))
	return Version{b.history, b.place.version}, b.place.at.time()
}

// Since returns the steps that have made v of an earlier version, oldest first;
// false if they are not known, or no longer. They are not to be changed.
func (v Version) Since(earlier Version) (steps [][]BlocklistChange, ok bool) {
	if v.history != earlier.history || v.number < earlier.number {
		return nil, false
	}
	n := v.number - earlier.number
	steps = v.Steps(int(min(n, MaxVersions)))
	return steps, uint64(len(steps)) == n
}

// Steps returns the last steps that have led to v, oldest first: at most so many,
// and fewer if no more are known. They are not to be changed.
func (v Version) Steps(atMost int) [][]BlocklistChange {
	h := v.history
	h.mu.Lock()
	defer h.mu.Unlock()
	if v.number < h.first {
		return nil
	}
	last := int(v.number - h.first)
	return slices.Clone(h.steps[max(0, last-atMost):last])
}

// NextExpiry is when the next entry expires and the answers change by
// themselves; false if none ever will.
func (b *Blocklist) NextExpiry(now time.Time) (time.Time, bool) {
	at := momentOf(now)
	b.history.mu.Lock()
	place := b.place
	b.history.mu.Unlock()
	next := place.next
	if !place.known || at.compare(place.at) < 0 || at.compare(next) >= 0 {
		next = b.firstExpiry(at)
	}
	if next.seconds == never {
		return time.Time{}, false
	}
	return next.time(), true
}

// advance brings b to the version of an instant, unless another Blocklist has
// followed. Its history's mu is held.
func (b *Blocklist) advance(at moment) {
	p := &b.place
	switch {
	case !p.known:
		p.known, p.at, p.next = true, at, b.firstExpiry(at)
	case p.over:
	case at.compare(p.at) < 0:
		b.history.forget()
		p.version, p.at, p.next = b.history.first, at, b.firstExpiry(at)
	case p.next.compare(at) <= 0:
		var step []BlocklistChange
		gone := b.expiring(p.at, at)
		for i, e := range gone {
			step = append(step, BlocklistChange{key: e.key, was: e.fact})
			if i+1 == len(gone) || gone[i+1].expiry() != e.expiry() {
				p.version = b.history.add(step)
				step = nil
			}
		}
		p.at, p.next = at, b.firstExpiry(at)
	default:
		p.at = at
	}
}

// follow makes next, which differs by changes, the successor of b. now is zero if
// the time is not known.
func (h *history) follow(b, next *Blocklist, changes []BlocklistChange, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b.place.over || !b.place.known {
		// Another one has followed b, or nobody has asked for a version of it.
		next.history = new(history)
		if !now.IsZero() {
			next.advance(momentOf(now))
		}
		return
	}
	if at := momentOf(now); b.place.at.compare(at) < 0 {
		b.advance(at)
	}
	next.history, next.place = h, b.place
	b.place.over = true
	at := b.place.at
	step := changes[:0]
	for _, c := range changes {
		if c.was.expired(at) {
			c.was = fact{}
		}
		if c.is.expired(at) {
			c.is = fact{}
		}
		if c.was != c.is {
			step = append(step, c)
		}
	}
	if len(step) == 0 {
		return
	}
	next.place.version = h.add(step)
	for _, c := range step {
		if c.was != (fact{}) && c.was.expiry() == next.place.next {
			next.place.next = next.firstExpiry(at)
			return
		}
		if c.is != (fact{}) && c.is.expiry().compare(next.place.next) < 0 {
			next.place.next = c.is.expiry()
		}
	}
}

// add appends a step, lets go of the oldest ones, and returns the new version.
func (h *history) add(step []BlocklistChange) uint64 {
	h.steps = append(h.steps, slices.Clip(step))
	h.changes += len(step)
	for len(h.steps) > MaxVersions || h.changes > maxChanges {
		h.changes -= len(h.steps[0])
		h.steps[0] = nil // the array may stay for a while
		h.steps = h.steps[1:]
		h.first++
	}
	return h.first + uint64(len(h.steps))
}

// forget begins anew, with a version that has nothing to do with those before.
func (h *history) forget() {
	h.first += uint64(len(h.steps)) + 1
	h.steps, h.changes = nil, 0
}

// BlocklistChange is what has changed for one prefix of the union.
type BlocklistChange struct {
	key
	was, is fact
}

// Was is the entry before the change, if there was one.
func (c BlocklistChange) Was() (BadCitizen, bool) { return c.entry(c.was) }

// Is is the entry after the change, if there is one.
func (c BlocklistChange) Is() (BadCitizen, bool) { return c.entry(c.is) }

func (c BlocklistChange) entry(f fact) (BadCitizen, bool) {
	if f == (fact{}) {
		return BadCitizen{}, false
	}
	return f.badCitizen(c.prefix()), true
}

// Net returns what steps have changed in all, ordered as [Blocklist.Entries] are.
func Net(steps [][]BlocklistChange) []BlocklistChange {
	net := make(map[key]BlocklistChange)
	for _, step := range steps {
		for _, c := range step {
			if earlier, ok := net[c.key]; ok {
				c.was = earlier.was
			}
			net[c.key] = c
		}
	}
	changes := make([]BlocklistChange, 0, len(net))
	for _, c := range net {
		if c.was != c.is {
			changes = append(changes, c)
		}
	}
	slices.SortFunc(changes, func(x, y BlocklistChange) int { return x.key.compare(y.key) })
	return changes
}
