package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// grace is how long a read waits for a lost session to come back before it
// fails. A fail-over inside the ensemble takes less; an outage takes longer.
const grace = 2 * time.Second

var errAway = fmt.Errorf("%w: ZooKeeper has been out of reach for more than %s", discovery.ErrUnavailable, grace)

// request is a piece of work for a session: usually one read of one znode.
type request interface {
	// issue starts the work. The session is live; release must be called once
	// when the work is done.
	issue()
	// fail ends the work unstarted.
	fail(error)
}

// session is one ZooKeeper session, or rather a row of them: when one expires
// the client opens the next, and with it a new epoch begins.
//
// It bounds how many reads are in flight, gives each lane its share of them, lets
// many callers share a sync, and counts the watches it carries. Handlers run on the
// client's dispatcher goroutine, one at a time and in ZooKeeper's order.
type session struct {
	c      *Cache
	number int
	client *zk.Client
	// live: the client is Ready, so watches hold and values are vouched for.
	live  atomic.Bool
	epoch atomic.Pointer[epoch]
	// reserved is the part of zk.WatchBudget that the entries of this session
	// take in a SetWatches request, in bytes.
	reserved atomic.Int64
	// orphaned is the part of it that belongs to watches that could not be
	// removed; it is free again when the epoch ends.
	orphaned atomic.Int64

	mu         sync.Mutex
	generation uint64
	lostAt     instant
	closed     bool
	// waiting has what waits for a place in flight: see lanes.go. inFlight is how
	// many places are taken, behind how many of them by the background, and turn
	// counts the starts.
	waiting          [lanes]queue[request]
	inFlight, behind int
	turn             int
	timer            *time.Timer
	round            round
	roundTimer       *time.Timer
	syncs            shared
}

// newSession makes a session that is not connected yet.
func (c *Cache) newSession(number int) *session {
	s := &session{c: c, number: number, lostAt: c.now()}
	s.epoch.Store(&epoch{session: s})
	return s
}

// connect opens the session's client and returns at once; requests wait until it is live.
// s.mu is held, because the first session event must find the client set.
func (s *session) connect() error {
	c := s.c
	cfg := c.cfg.ZooKeeper
	cfg.OnWatch = func(e zk.WatchEvent) { c.onWatch(s, e) }
	cfg.OnSession = s.onSession
	if cfg.Logger != nil {
		cfg.Logger = cfg.Logger.With("session", s.number)
	}
	client, err := zk.Open(cfg)
	if err != nil {
		return err
	}
	s.client = client
	s.timer = time.AfterFunc(grace, s.failWaiting)
	s.roundTimer = time.AfterFunc(time.Hour, s.beginRound)
	s.roundTimer.Stop()
	return nil
}

// verified is the last instant at which what the session holds was known to be
// what ZooKeeper holds.
func (s *session) verified() instant {
	at := s.client.VerifiedAt()
	if at.IsZero() {
		return 1
	}
	return max(1, s.c.instantOf(at))
}

func (s *session) onSession(e zk.SessionEvent) {
	s.mu.Lock()
	switch e.State {
	case zk.Ready:
		fresh := e.Session != s.generation
		if fresh {
			s.generation = e.Session
			s.endEpoch()
		}
		s.live.Store(true)
		s.timer.Stop()
		s.round.lost = true
		s.revalidate(fresh)
		s.mu.Unlock()
		s.c.onReady(s, fresh)
		s.c.search() // a round that is under way may have been waiting for the session
		s.pump()
		return
	case zk.Expired, zk.AuthFailed, zk.Closed:
		s.endEpoch()
		fallthrough
	default:
		if s.live.Swap(false) {
			s.lostAt = s.c.now()
			s.timer.Reset(grace)
		}
	}
	s.mu.Unlock()
	if e.State == zk.AuthFailed {
		s.c.views.fail(s, translate(zk.ErrAuthFailed))
	}
}

// endEpoch ends the epoch, if it vouched for anything, and begins the next.
// s.mu is held.
func (s *session) endEpoch() {
	if s.epoch.Load().ended.CompareAndSwap(0, int64(s.verified())) {
		s.epoch.Store(&epoch{session: s})
		s.reserved.Add(-s.orphaned.Swap(0))
	}
}

// orphan leaves the watch on path to the end of the epoch.
func (s *session) orphan(path string) { s.orphaned.Add(int64(zk.WatchCost(path))) }

// submit queues r and starts it as soon as the session is live and a place in
// flight is free.
func (s *session) submit(r request) {
	s.mu.Lock()
	of := upkeep
	l, ok := r.(*load)
	if ok {
		of = l.lane
	}
	err := s.refusal(of)
	if err == nil {
		if ok {
			l.queued = true
		}
		s.waiting[of].push(r)
	}
	s.mu.Unlock()
	if err != nil {
		r.fail(err)
		return
	}
	s.pump()
}

// promote lets a load of revalidation go with the reads that callers wait for,
// because one has come to wait for it. Its place in the other lane is passed over. A
// load that is not in a queue yet will be queued with the callers'. One of the upkeep
// stays there: it has as good a place.
func (s *session) promote(l *load) {
	s.mu.Lock()
	waits := false
	if l.lane < upkeep {
		l.lane = callers
		if waits = l.queued; waits {
			s.waiting[callers].push(l)
		}
	}
	s.mu.Unlock()
	if waits {
		s.pump()
	}
}

// refusal says why nothing may be queued now, nil if it may. Only callers' reads
// can be too many: they ask again, while a change in a directory that is not read
// now, or a watch that is not removed, would be forgotten. s.mu is held.
func (s *session) refusal(of lane) error {
	switch {
	case s.closed:
		return errClosed
	case !s.live.Load() && time.Duration(s.c.now()-s.lostAt) > grace:
		return errAway
	case of == callers && s.waiting[callers].len() >= s.c.cfg.MaxWaiting:
		return errOverloaded
	}
	return nil
}

// pump starts what may be started.
func (s *session) pump() {
	for {
		s.mu.Lock()
		r := s.next()
		s.mu.Unlock()
		if r == nil {
			return
		}
		r.issue()
	}
}

// trust returns the error of an answer to a read, and that of a lost connection
// where the answer is not to be used: between pump's look at live and the request
// the session may have been lost, and then it is the next one that answers, before
// its first sync. On the dispatcher answers and states come in order.
func (s *session) trust(err error) error {
	if !s.live.Load() && (err == nil || errors.Is(err, zk.ErrNoNode)) {
		return zk.ErrConnectionLoss
	}
	return err
}

// release gives back a place in flight of the upkeep and starts what waited for it.
func (s *session) release() {
	s.vacate(upkeep)
	s.pump()
}

// failWaiting ends what has waited for the session in vain.
func (s *session) failWaiting() {
	s.mu.Lock()
	var waiting []request
	if !s.live.Load() {
		waiting = s.drain()
		s.stopRound()
	}
	err := errAway
	if s.closed {
		err = errClosed
	}
	s.mu.Unlock()
	for _, r := range waiting {
		r.fail(err)
	}
}

// sync calls done once a sync that was issued after this call has completed.
func (s *session) sync(done func(error)) { s.syncs.join(s.startSync, done) }

func (s *session) startSync(done func(error)) { s.client.SyncAsync("/", done) }

// syncWait is sync for a caller that waits.
func (s *session) syncWait(ctx context.Context) error {
	if !s.live.Load() {
		return fmt.Errorf("%w: ZooKeeper is out of reach, so nothing newer than what is held can be had; ask without Cache-Control: no-cache", discovery.ErrUnavailable)
	}
	return joined(ctx, func(done func(error)) { s.sync(func(err error) { done(translate(err)) }) })
}

func (s *session) close() {
	s.mu.Lock()
	s.closed = true
	s.timer.Stop()
	s.roundTimer.Stop()
	s.mu.Unlock()
	if err := s.client.Close(); err != nil {
		s.c.log.Warn("closing a ZooKeeper session", "error", err)
	}
	s.live.Store(false)
	s.failWaiting()
}
