package cache

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// Revalidation reads again the entries that no watch holds true any more: all of a
// session after that was lost, those whose read was cut short after a mere
// reconnect, and those that changed in such numbers that not all of their reads
// could be queued.
//
// There may be a million of them, so nothing is queued for each. What is to be read
// again says so by itself: its record is not vouched for. A session's round takes
// such entries in a fixed order, those that are watched first, then the most used,
// and of them it knows only the next piece. When that runs low a search of the index
// brings the next piece for all sessions at once: what comes after the entry that was
// taken last. That the order is total is what ends a round, whether or not the reads
// succeed.

const (
	// spread is the longest that a replica waits before it revalidates what nobody
	// asks for, at random, so that replicas do not come in step after an outage.
	spread = 500 * time.Millisecond
	// piece is how many entries of a session are known at once as the next to be
	// revalidated. They take 24 bytes each.
	piece = 1024
)

// stale is an entry that is to be read again, with what its place in the order
// depends on. It is a request of its session.
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

// issue reads the entry again, unless that has become needless: then its place in
// flight is free for what pump takes next.
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

// fail has nothing to do: nothing was begun, and the session's next round finds
// the entry again.
func (one *stale) fail(error) {}

// begin makes the read of an entry that has got a place in flight. It returns nil
// if the entry has left, has been read, or is being read.
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

// round is one pass over what a session has to revalidate. Under the session's mu.
type round struct {
	// number tells rounds apart.
	number int
	// next are the entries to be read next, in order. last is the place in the order
	// of the one that was taken last, if begun says that one was.
	next  []stale
	last  stale
	begun bool
	// more: what comes after next has to be searched for.
	more bool
	// due: a round begins when the session's roundTimer fires. again: one has to
	// follow this one. lost: it is because the session was away.
	due, again, lost bool
}

// revalidate has a round begin soon; restart says that one that is under way is
// not to be completed first. s.mu is held.
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

// beginRound begins a round. It is what roundTimer calls.
func (s *session) beginRound() {
	s.mu.Lock()
	s.round = round{number: s.round.number + 1, more: true, lost: s.round.lost}
	s.mu.Unlock()
	s.c.search()
}

// stopRound forgets what a round has found, as the session is away. s.mu is held.
func (s *session) stopRound() {
	s.round = round{number: s.round.number + 1, due: s.round.due, lost: s.round.lost}
}

// takeStale takes the next entry of the round if it is of that lane, else it
// returns nil. s.mu is held.
func (s *session) takeStale(of lane) *stale {
	r := &s.round
	if len(r.next) == 0 || r.next[0].lane != of {
		return nil
	}
	one := &r.next[0]
	r.last, r.begun = *one, true
	r.last.e = nil // it may be evicted, and the round must not keep it
	if r.next = r.next[1:]; len(r.next) == 0 {
		r.next = nil
	}
	if r.hungry() {
		s.c.search()
	}
	s.endRound()
	return one
}

// hungry reports whether the next piece is needed soon.
func (r *round) hungry() bool { return r.more && len(r.next) < piece/4 }

// endRound begins another round if this one is over and something was left to it.
// s.mu is held.
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
	// after is what was taken last, if begun says that anything was.
	after stale
	begun bool
	// found are the best so far, up to twice as many as there is a use for; once
	// there were so many they have been cut to the best, and what comes after the
	// last of those is not needed. count is how many there are in all.
	found []stale
	cut   bool
	count int
}

// beginSearch returns nil if the session has no use for a piece. hungry says that it
// will soon have nothing to do without.
func (s *session) beginSearch() (p *search, hungry bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.round
	if !s.live.Load() || !r.more {
		return nil, false
	}
	return &search{round: r.number, after: r.last, begun: r.begun}, r.hungry()
}

// seesWatched reports whether watched entries may be left. Once those that nobody
// watches are read, whatever is still left goes with them.
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

// sort brings what was found in order, and cuts it to a piece.
func (p *search) sort() {
	slices.SortFunc(p.found, func(a, b stale) int { return a.compare(&b) })
	if len(p.found) > piece {
		clear(p.found[piece:])
		p.found, p.cut = p.found[:piece], true
	}
}

// endSearch gives the round what was found, less what has been taken meanwhile.
func (s *session) endSearch(p *search) {
	p.sort()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.round
	if r.number != p.round {
		return // the session was away, or the round begins anew
	}
	if r.lost && p.count > 0 {
		s.c.log.Info("revalidating entries whose watch was lost", "session", s.number, "entries", p.count)
	}
	r.lost = false
	next := p.found
	for len(next) > 0 && r.begun && next[0].compare(&r.last) <= 0 {
		next = next[1:]
	}
	// A copy keeps what is not needed from living as long as what is.
	r.next, r.more = slices.Clone(next), p.cut
	s.endRound()
}
