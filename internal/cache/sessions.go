package cache

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// defaultBudget is how much of zk.WatchBudget the watches of one session may take. The rest is
// a margin, because watches beyond zk.WatchBudget could not be set again after a reconnect.
const defaultBudget = zk.WatchBudget * 9 / 10

var errNoRoom = fmt.Errorf("%w: all ZooKeeper sessions carry as many watches as they can", discovery.ErrOverloaded)

func watchCost(path string) int64 { return int64(zk.WatchCost(path)) }

// sessions are the ZooKeeper sessions over which the watches are spread. The first ones also
// list the directories of views: see views.plan. Further sessions are opened when watches need
// them, and stay open.
type sessions struct {
	mu     sync.Mutex // held while a session is opened
	closed bool
	all    atomic.Pointer[[]*session]
}

func (p *sessions) list() []*session {
	if all := p.all.Load(); all != nil {
		return *all
	}
	return nil
}

// open connects sessions and adds them to the list. None of them handles an event before all
// are connected, because an event of one session may be handled with the help of another.
// p.mu is held.
func (p *sessions) open(more ...*session) error {
	if p.closed {
		return errClosed
	}
	all := slices.Clone(p.list())
	for _, s := range more {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.connect(); err != nil {
			p.all.Store(&all)
			return err
		}
		all = append(all, s)
	}
	p.all.Store(&all)
	return nil
}

// reserve finds the session for a new watch on path, and counts the watch there. If no session
// has room for the watch, reserve opens one more session. It does so as well if all sessions
// together have little room, so that the new session is live before it is needed.
func (p *sessions) reserve(c *Cache, path string) (*session, error) {
	cost := watchCost(path)
	if cost > c.cfg.watchBudget {
		return nil, errNoRoom
	}
	for {
		best, room := p.roomiest(c, cost)
		if best == nil || room < c.cfg.watchBudget/4 {
			if err := p.grow(c, room); err != nil && best == nil {
				return nil, err
			}
			if best == nil {
				continue
			}
		}
		if best.reserved.Add(cost) <= c.cfg.watchBudget {
			return best, nil
		}
		best.reserved.Add(-cost)
	}
}

// unreserve gives back what reserve counted.
func (p *sessions) unreserve(s *session, path string) {
	s.reserved.Add(-watchCost(path))
}

// any returns a session for a read that sets no watch.
func (p *sessions) any() *session {
	all := p.list()
	for _, s := range all {
		if s.live.Load() {
			return s
		}
	}
	return all[0]
}

// roomiest returns the session with the most room, of those that have room for a watch of that
// cost, and nil if there is none. It prefers live sessions. room is that of all sessions
// together.
func (p *sessions) roomiest(c *Cache, cost int64) (best *session, room int64) {
	bestFree, bestLive := int64(0), false
	for _, s := range p.list() {
		free, live := c.cfg.watchBudget-s.reserved.Load(), s.live.Load()
		room += max(0, free)
		if free >= cost && (best == nil || live && !bestLive || live == bestLive && free > bestFree) {
			best, bestFree, bestLive = s, free, live
		}
	}
	return best, room
}

// grow opens one more session, unless there is more room now than seen, because another caller
// has opened a session.
func (p *sessions) grow(c *Cache, seen int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, room := p.roomiest(c, 0); room > seen {
		return nil
	}
	if len(p.list()) >= c.cfg.MaxSessions {
		return errNoRoom
	}
	if err := p.open(c.newSession(len(p.list()))); err != nil {
		return fmt.Errorf("%w: opening one more ZooKeeper session for more watches: %w", discovery.ErrUnavailable, err)
	}
	return nil
}

func (p *sessions) close() {
	p.mu.Lock()
	p.closed = true
	all := p.list()
	p.mu.Unlock()
	var closing sync.WaitGroup
	for _, s := range all {
		closing.Go(s.close)
	}
	closing.Wait()
}
