package cache

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// Revalidation reads again the entries for which no watch vouches any more. These are all
// entries of a session after the session was lost; after a mere reconnect, those whose read was
// cut short; and changed entries, if so many have changed that not all of their reads could be
// queued.
//
// There may be a million of them, so no read is queued for each. An entry is to be read again if
// its record is not vouched for. A session's round takes such entries in a fixed order: watched
// ones first, then the most used. The round has only the next piece of them. When the piece runs
// low, a search walks the index and finds the next piece for all sessions at once: the entries
// that come after the entry that was taken last. A round ends, whether or not the reads succeed,
// because the order is total and the round never goes back in it.

const (
	// spread bounds the random time that a replica waits before a round, so that after an
	// outage not all replicas begin to revalidate at the same moment.
	spread = 500 * time.Millisecond
	// piece is how many entries a search finds for a session at once. Each takes 24 bytes.
	piece = 1024
)

// stale is an entry that is to be read again, and what decides on its place in the order. It is a
// request of the entry's session.
type stale struct {
	hash uint64
	e    *entry
	heat uint32
	lane lane // watched or background
}

// compare is negative if a is to be read before b.
func (a *stale) compare(b *stale) int {
	return cmp.Or(cmp.Compare(b.lane, a.lane), cmp.Compare(b.heat, a.heat), cmp.Compare(a.hash, b.hash))
}

// issue reads the entry again. If that is not needed any more, it gives the place in flight
// back, and pump goes on with the next request.
func (one *stale) issue() {
	s := one.e.rec.Load().epoch.session
	l := s.c.begin(one)
	if l == nil {
		s.vacate(one.lane)
		return
	}
	s.c.metrics.revalidations.Inc()
	l.issue()
}

// fail does nothing, because no read was begun. The session's next round finds the entry again.
func (one *stale) fail(error) {}

// begin makes the load of an entry that has got a place in flight. It returns nil if the entry has
// left the cache, has been read, or is being read.
func (c *Cache) begin(one *stale) *load {
	sh := c.index.shard(one.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	rec := one.e.rec.Load()
	if sh.find(one.hash) != one.e || sh.loads[one.hash] != nil || rec.vouched() {
		return nil
	}
	l := &load{s: rec.epoch.session, e: one.e, hash: one.hash, path: c.pathOf(one.e),
		lane: one.lane, place: one.lane, done: make(chan struct{})}
	sh.loads[one.hash] = l
	return l
}

// round is one pass over the entries that a session has to revalidate. It is under the session's
// mu.
type round struct {
	// number is another one for each round.
	number int
	// next are the entries to be read next, in order. last is the place in the order of the
	// entry that was taken last. begun says that one was taken.
	next  []stale
	last  stale
	begun bool
	// more: there may be entries that come after next, which a search has to find.
	more bool
	// due: the session's roundTimer will begin a round. again: another round has to follow
	// this one. lost: the round is needed because the session was away.
	due, again, lost bool
}

// revalidate begins a round soon. If a round is under way, that round is completed first, unless
// restart is set. s.mu is held.
func (s *session) revalidate(restart bool) {
	r := &s.round
	if !restart && (r.more || len(r.next) > 0) {
		r.again = true
		return
	}
	if !r.due {
		r.due = true
		s.roundTimer.Reset(rand.N(spread))
	}
}

// beginRound begins a round. roundTimer calls it.
func (s *session) beginRound() {
	s.mu.Lock()
	s.round = round{number: s.round.number + 1, more: true, lost: s.round.lost}
	s.mu.Unlock()
	s.c.search()
}

// stopRound ends the round, because the session is away. s.mu is held.
func (s *session) stopRound() {
	s.round = round{number: s.round.number + 1, due: s.round.due, lost: s.round.lost}
}

// takeStale takes the next entry of the round if it is of that lane, and returns nil otherwise.
// s.mu is held.
func (s *session) takeStale(of lane) *stale {
	r := &s.round
	if len(r.next) == 0 || r.next[0].lane != of {
		return nil
	}
	one := &r.next[0]
	r.last, r.begun = *one, true
	r.last.e = nil // because the round must not keep it in memory after it was evicted
	if r.next = r.next[1:]; len(r.next) == 0 {
		r.next = nil
	}
	if r.hungry() {
		s.c.search()
	}
	s.endRound()
	return one
}

// hungry reports whether the round needs its next piece soon.
func (r *round) hungry() bool { return r.more && len(r.next) < piece/4 }

// endRound begins another round if this one is over and another was asked for. s.mu is held.
func (s *session) endRound() {
	if r := &s.round; r.again && !r.more && len(r.next) == 0 {
		r.again = false
		s.revalidate(false)
	}
}

// search wakes the goroutine that finds the next pieces.
func (c *Cache) search() {
	select {
	case c.searching <- struct{}{}:
	default:
	}
}

func (c *Cache) searchLoop() {
	for {
		select {
		case <-c.closing:
			return
		case <-c.searching:
			c.searchStale()
		}
	}
}

// searchStale finds the next piece of every session that may have more, in one walk
// over the index.
func (c *Cache) searchStale() {
	all := c.sessions.list()
	searches := make([]*search, len(all))
	needed := false
	for i, s := range all {
		var hungry bool
		searches[i], hungry = s.beginSearch()
		needed = needed || hungry
	}
	if !needed {
		return
	}
	watches := c.notify.feed.Watches() > 0
	c.index.each(func(hash uint64, e *entry) {
		rec := e.rec.Load()
		if rec == nil || rec.vouched() {
			return
		}
		n := rec.epoch.session.number
		if n >= len(searches) || searches[n] == nil {
			return
		}
		one := stale{hash: hash, e: e, heat: e.heat.Load()}
		if watches && searches[n].seesWatched() && c.notify.feed.Watched(c.kindOf(e).topic(e.name)) {
			one.lane = watched
		}
		searches[n].add(&one)
	})
	for i, found := range searches {
		if found != nil {
			all[i].endSearch(found)
			all[i].pump()
		}
	}
}

// search finds the next piece of one session's round.
type search struct {
	round int
	// after is the place of the entry that the round has taken last. begun says that it has
	// taken one.
	after stale
	begun bool
	// found are the first entries in the order that were found so far. Once there are twice
	// as many as a piece, sort cuts them to a piece and sets cut. From then on an entry that
	// comes after the last of the piece is not needed. count is the number of all entries
	// that the search has come across.
	found []stale
	cut   bool
	count int
}

// beginSearch returns nil if the session has no use for a piece. hungry says that the round needs
// one soon.
func (s *session) beginSearch() (p *search, hungry bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.round
	if !s.live.Load() || !r.more {
		return nil, false
	}
	return &search{round: r.number, after: r.last, begun: r.begun}, r.hungry()
}

// seesWatched reports whether the search tells watched entries from others. Once the round has
// taken an entry that nobody watches, it takes all that are left as such.
func (p *search) seesWatched() bool { return !p.begun || p.after.lane == watched }

func (p *search) add(one *stale) {
	if p.begun && one.compare(&p.after) <= 0 {
		return
	}
	p.count++
	if p.cut && one.compare(&p.found[piece-1]) > 0 {
		return
	}
	p.found = append(p.found, *one)
	if len(p.found) == 2*piece {
		p.sort()
	}
}

// sort sorts what was found and cuts it to a piece.
func (p *search) sort() {
	slices.SortFunc(p.found, func(a, b stale) int { return a.compare(&b) })
	if len(p.found) > piece {
		clear(p.found[piece:])
		p.found, p.cut = p.found[:piece], true
	}
}

// endSearch gives the round what was found, except for entries up to the one that was taken last
// meanwhile.
func (s *session) endSearch(p *search) {
	p.sort()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.round
	if r.number != p.round {
		return // the session was away, or another round has begun
	}
	if r.lost && p.count > 0 {
		s.c.log.Info("revalidating entries whose watch was lost", "session", s.number, "entries", p.count)
	}
	r.lost = false
	next := p.found
	for len(next) > 0 && r.begun && next[0].compare(&r.last) <= 0 {
		next = next[1:]
	}
	// Without a copy, the array would keep the entries in memory that are not needed.
	r.next, r.more = slices.Clone(next), p.cut
	s.endRound()
}
