package cache

// lane is one of the lines in which requests wait for a place in flight. They are
// in the order of who waits for them.
type lane uint8

const (
	// background has the entries to be revalidated that nobody watches.
	background lane = iota
	// watched has the entries to be revalidated that long polls or streams watch.
	watched
	// upkeep keeps true what is held: it has reads of changed znodes and of directories,
	// audits and checks, and the removal of watches. No caller waits for them but who
	// asks for a fresh answer, and none of them is ever refused because too many
	// callers wait.
	upkeep
	// callers has the reads that callers wait for.
	callers

	lanes = iota
)

// turns says whose turn it is, start by start. A lane in which nothing waits
// leaves its turn to the others, so each has at least its share while it has work:
// however many callers come, an eighth of the starts goes to the background.
var turns = [...]lane{callers, upkeep, callers, watched, callers, upkeep, watched, background}

const (
	// backgroundInFlight bounds what the background has under way, so that a read
	// somebody waits for never stands behind more than this many that nobody waits
	// for.
	backgroundInFlight = 64
	// maxUpkeep is how many reads of changed znodes a session queues. Beyond it the
	// entry is left to revalidation, which needs no place in a queue to find it.
	maxUpkeep = 1024
)

// next takes the request that may start now, nil if none may. s.mu is held.
func (s *session) next() request {
	if !s.live.Load() || s.inFlight >= s.c.cfg.InFlight {
		return nil
	}
	first := turns[s.turn%len(turns)]
	r, of := s.take(first), first
	for i := lane(1); r == nil && i <= lanes; i++ {
		of = lanes - i
		r = s.take(of)
	}
	if r == nil {
		return nil
	}
	s.turn++
	s.inFlight++
	if of == background {
		s.behind++
	}
	return r
}

// take takes the first request of a lane, nil if there is none that may start.
// Reads that were begun once and are tried again go before those of the round.
// s.mu is held.
func (s *session) take(of lane) request {
	if of == background && s.behind >= backgroundInFlight {
		return nil
	}
	for {
		r, ok := s.waiting[of].pop()
		if !ok {
			break
		}
		l, ok := r.(*load)
		if !ok {
			return r
		}
		if l.lane == of { // else it was promoted, and has another place
			l.queued, l.place = false, of
			return l
		}
	}
	if one := s.takeStale(of); one != nil {
		return one
	}
	return nil
}

// vacate gives back a place in flight. Whoever calls it sees to it that pump goes on.
func (s *session) vacate(of lane) {
	s.mu.Lock()
	s.inFlight--
	if of == background {
		s.behind--
	}
	s.mu.Unlock()
}

// drain empties all lanes, those that callers wait in first. s.mu is held.
func (s *session) drain() (waiting []request) {
	for i := range s.waiting {
		of := lanes - 1 - lane(i)
		for _, r := range s.waiting[of].drain() {
			if l, ok := r.(*load); ok {
				if l.lane != of {
					continue
				}
				l.queued = false
			}
			waiting = append(waiting, r)
		}
	}
	return waiting
}
