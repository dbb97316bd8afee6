package shops

import (
	"slices"
	"sync"
	"time"
)

// MaxVersions is how many steps a history keeps at most: for a version that is older, it is
// not known what has changed since.
const MaxVersions = 4096

// maxChanges is how many changes all steps of a history may have together. A change takes
// 56 bytes.
const maxChanges = 65_536

// history has the last versions of a blocklist, each as the step that leads to it from the
// version before. Changes of lists make versions, and so does the expiry of entries. A
// Blocklist and its successors, which [Blocklist.Next] makes, share one history. The last
// version of the history is that of the latest successor.
//
// Each instant at which entries expire makes a version of its own, even if nobody asks at
// that time. So replicas that learn of the same changes go through the same versions.
type history struct {
	mu sync.Mutex
	// steps are the last steps. steps[i] leads from version first+i to the next version.
	steps [][]BlocklistChange
	first uint64
	// changes is the number of changes in all steps.
	changes int
}

// place is the position of a Blocklist in its history.
type place struct {
	// known: the other fields have been set. The first call that gives a time sets them.
	known   bool
	version uint64
	// at is the instant of the version: entries that have expired by then are no part of
	// the version. next is when the next entry expires, or never.
	at, next moment
	// over: another Blocklist has followed, so that this one stays at its version.
	over bool
}

// Version identifies what a [Blocklist] contained at one time. Versions can be compared: at
// equal versions the contents are the same.
type Version struct {
	history *history
	number  uint64
}

// Version returns the version of b at the time that now returns, and the time of the
// version, which is the one to give to [Blocklist.Entries]. If another Blocklist has
// followed b, both are those of the last version that b had. now is called with a lock
// held, so that times never go back from one call to the next. They go back only if
// somebody has set the clock; then a version begins that has no steps from those before.
func (b *Blocklist) Version(now func() time.Time) (Version, time.Time) {
	b.history.mu.Lock()
	defer b.history.mu.Unlock()
	b.advance(momentOf(now()))
	return Version{b.history, b.place.version}, b.place.at.time()
}

// Since returns the steps that lead from an earlier version to v, oldest first. ok is false
// if the history does not have all of these steps. The steps must not be changed.
func (v Version) Since(earlier Version) (steps [][]BlocklistChange, ok bool) {
	if v.history != earlier.history || v.number < earlier.number {
		return nil, false
	}
	n := v.number - earlier.number
	steps = v.Steps(int(min(n, MaxVersions)))
	return steps, uint64(len(steps)) == n
}

// Steps returns the last steps that lead to v, oldest first. It returns at most atMost
// steps, and fewer if the history does not have more. The steps must not be changed.
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

// NextExpiry returns when the next entry expires, so that answers change without a change
// of a list. It returns false if no entry will expire.
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

// advance brings b to the version of an instant, unless another Blocklist has followed b.
// The history's mu is held.
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

// follow makes next the successor of b. changes are the differences between the two. now is
// zero if the time is not known.
func (h *history) follow(b, next *Blocklist, changes []BlocklistChange, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b.place.over || !b.place.known {
		// Another Blocklist has followed b, or nobody has asked for a version of b.
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

// add appends a step, removes the oldest steps if there are too many, and returns the number
// of the new version.
func (h *history) add(step []BlocklistChange) uint64 {
	h.steps = append(h.steps, slices.Clip(step))
	h.changes += len(step)
	for len(h.steps) > MaxVersions || h.changes > maxChanges {
		h.changes -= len(h.steps[0])
		h.steps[0] = nil // because the array may stay in memory for a while
		h.steps = h.steps[1:]
		h.first++
	}
	return h.first + uint64(len(h.steps))
}

// forget removes all steps and begins a version that no step leads to.
func (h *history) forget() {
	h.first += uint64(len(h.steps)) + 1
	h.steps, h.changes = nil, 0
}

// BlocklistChange is the change of one prefix of the union.
type BlocklistChange struct {
	key
	was, is fact
}

// Was returns the entry before the change. It returns false if there was none.
func (c BlocklistChange) Was() (BadCitizen, bool) { return c.entry(c.was) }

// Is returns the entry after the change. It returns false if there is none.
func (c BlocklistChange) Is() (BadCitizen, bool) { return c.entry(c.is) }

func (c BlocklistChange) entry(f fact) (BadCitizen, bool) {
	if f == (fact{}) {
		return BadCitizen{}, false
	}
	return f.badCitizen(c.prefix()), true
}

// Net returns the changes that all steps make together, in the order of [Blocklist.Entries].
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
