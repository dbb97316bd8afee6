package client

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// server is one magellan.
type server struct {
	url  string // without a slash at its end
	name string // the URL without a password
}

// servers says in which order servers are asked.
type servers struct {
	all []server

	mu    sync.Mutex
	first int
}

// inTurn returns all servers, the preferred one first.
func (s *servers) inTurn() []server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(s.all[s.first:len(s.all):len(s.all)], s.all[:s.first]...)
}

// preferred returns the server to ask.
func (s *servers) preferred() server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[s.first]
}

// failed has another server preferred, if it is this one that was.
func (s *servers) failed(which server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[s.first] == which {
		s.first = (s.first + 1) % len(s.all)
	}
}

// prefer makes a server the one to ask.
func (s *servers) prefer(which server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, one := range s.all {
		if one == which {
			s.first = i
		}
	}
}

// Pauses between attempts: those after the first round of all servers begin with leastPause and
// double up to mostPause.
const (
	leastPause = 500 * time.Millisecond
	mostPause  = 15 * time.Second
)

// backoff counts failures in a row.
type backoff struct{ failures int }

// pause waits as long as it takes until the next attempt, which is a random time. It returns
// false if ctx has ended. The other servers are tried at once, in a tenth of a second at most.
func (b *backoff) pause(ctx context.Context, servers int) bool {
	b.failures++
	most := 100 * time.Millisecond
	if rounds := b.failures / servers; rounds > 0 {
		most = min(leastPause<<min(rounds-1, 10), mostPause)
	}
	return sleep(ctx, rand.N(most)+most/10)
}

// sleep reports whether the time has passed before ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
