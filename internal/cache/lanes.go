package cache

// lane is one of the queues in which requests wait for a place in flight. The constants are in
// order of urgency.
type lane uint8

const (
	// background has the revalidation of entries that nobody watches.
	background lane = iota
	// watched has the revalidation of entries that long polls or streams watch.
	watched
	// upkeep has reads of changed znodes and of directories, audits, checks, and the removal
	// of watches. Only callers that ask for a fresh answer wait for these. None of them is
	// ever refused because too many callers wait.
	upkeep
	// callers has the reads that callers wait for.
	callers

	lanes = iota
)

// turns says which lane has its turn at each start. If nothing waits in that lane, another lane
// has the turn. So each lane that has work gets at least its share of the starts: background
// gets one start in eight, however many callers wait.
var turns = [...]lane{callers, upkeep, callers, watched, callers, upkeep, watched, background}

const (
	// backgroundInFlight is how many reads of background may be in flight. ZooKeeper answers
	// in order, so a read that a caller waits for waits behind at most as many of them.
	backgroundInFlight = 64
	// maxUpkeep is how many requests may wait in upkeep before entries that have changed are
	// left to revalidation, which finds them without a queue.
	maxUpkeep = 1024
)

// next takes the request that may start now out of its lane. It returns nil if there is none.
// s.mu is held.
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

// take takes the first request of a lane. It returns nil if there is none that may start.
// Reads that are tried again come before those of the round. s.mu is held.
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
		if l.lane == of { // otherwise it was promoted, and waits in another lane
			l.queued, l.place = false, of
			return l
		}
	}
	if one := s.takeStale(of); one != nil {
		return one
	}
	return nil
}

// vacate gives back a place in flight. The caller has to see to it that pump is called.
func (s *session) vacate(of lane) {
	s.mu.Lock()
	s.inFlight--
	if of == background {
		s.behind--
	}
	s.mu.Unlock()
}

// drain takes all requests out of all lanes, the most urgent lane first. s.mu is held.
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
