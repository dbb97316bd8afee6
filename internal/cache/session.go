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

// grace is how long a read waits for a lost session before the read fails. A fail-over inside
// the ensemble takes less time than that, and an outage takes more.
const grace = 2 * time.Second

var errAway = fmt.Errorf("%w: ZooKeeper has been out of reach for more than %s", discovery.ErrUnavailable, grace)

// request is a piece of work for a session: usually one read of one znode.
type request interface {
	// issue starts the work. The session is live then, and the work has a place in flight.
	// Once the work is done, release or vacate must give that place back.
	issue()
	// fail is called in place of issue if the work cannot be started.
	fail(error)
}

// session is a row of ZooKeeper sessions, one at a time: if one expires the client opens the
// next, and a new epoch begins.
//
// A session bounds how many reads are in flight, gives each lane its share of the starts, has
// many callers share a sync, and counts the bytes of its watches. Handlers run on the client's
// dispatcher goroutine, one at a time and in ZooKeeper's order.
type session struct {
	c      *Cache
	number int
	client *zk.Client
	// live: the client is Ready, so that watches hold and vouch for records.
	live  atomic.Bool
	epoch atomic.Pointer[epoch]
	// reserved is how many bytes the watches of this session take in a SetWatches request,
	// which zk.WatchBudget bounds.
	reserved atomic.Int64
	// orphaned is how many of the reserved bytes belong to watches that could not be
	// removed. These bytes are free again when the epoch ends.
	orphaned atomic.Int64

	mu         sync.Mutex
	generation uint64
	lostAt     instant
	closed     bool
	// waiting has the requests that wait for a place in flight: see lanes.go. inFlight is
	// the number of places that are taken. The lane background has taken behind of them.
	// turn counts the starts.
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

// connect opens the session's client and returns at once. Requests wait until the session is
// live. s.mu is held until s.client has been set, because the first session event needs it.
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

// verified is the last instant at which the session's watched values were known to be what
// ZooKeeper holds.
func (s *session) verified() instant {
	if s.client == nil {
		return 1 // a snapshot is being restored, and the session is not open yet
	}
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
		s.c.search() // because a search passes over a session that is not live
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

// endEpoch ends the epoch and begins the next. s.mu is held.
func (s *session) endEpoch() {
	if s.epoch.Load().ended.CompareAndSwap(0, int64(s.verified())) {
		s.epoch.Store(&epoch{session: s})
		s.reserved.Add(-s.orphaned.Swap(0))
	}
}

// orphan notes that the watch on path could not be removed and stays until the epoch ends.
func (s *session) orphan(path string) { s.orphaned.Add(int64(zk.WatchCost(path))) }

// submit queues r. r starts once the session is live and a place in flight is free.
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

// promote moves a load of revalidation to the lane of the reads that callers wait for, because
// a caller waits for it now. take passes over the load's place in the other lane. If the load
// is not queued yet, submit will queue it in the callers' lane. A load of the upkeep stays
// where it is, because it waits no longer there.
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

// refusal returns why a request may not be queued in a lane now, nil if it may. Only callers'
// reads are refused because too many wait, because callers can ask again. If another request
// were refused, nobody would read the changed directory, or remove the watch, later. s.mu is
// held.
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

// pump starts requests for as long as one may be started.
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

// trust returns the error of an answer to a read, and zk.ErrConnectionLoss if the answer must
// not be used because the session is not live. Between pump's look at live and the request the
// session may have been lost. Then the next ZooKeeper session may answer the request before
// its first sync. trust is called on the dispatcher goroutine, where answers and states come
// in order.
func (s *session) trust(err error) error {
	if !s.live.Load() && (err == nil || errors.Is(err, zk.ErrNoNode)) {
		return zk.ErrConnectionLoss
	}
	return err
}

// release gives back a place in flight of the upkeep, and starts what may be started.
func (s *session) release() {
	s.vacate(upkeep)
	s.pump()
}

// failWaiting fails the requests that wait, because the session was away for longer than grace
// or is closed.
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

// syncWait syncs, and returns once the sync has completed.
func (s *session) syncWait(ctx context.Context) error {
	if !s.live.Load() {
		return fmt.Errorf("%w: ZooKeeper is out of reach, so that there is nothing newer than what is held; a request that takes an older answer gets that: one without no-cache, max-age and X-Min-Zxid", discovery.ErrUnavailable)
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
