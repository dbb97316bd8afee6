package cache

import (
	"errors"
	"fmt"
	"sync/atomic"

	"magellan/internal/zk"
)

// ErrNoRoot is returned by [Cache.WaitReady] if ZooKeeper answers but the root znode does not
// exist.
var ErrNoRoot = errors.New("the root znode does not exist")

// root is what is known of the root znode. A ZooKeeper without the root was emptied, or is another
// one than the operator meant. So the cache must not conclude from a missing root that nothing exists
// below it. The cache reads nothing until it has found the root. If the root is gone later, the cache
// takes nothing for absent because of that: it goes on serving what it holds, as STALE.
type root struct {
	// found: the root has existed. Only the dispatcher goroutine of views.session sets it.
	found atomic.Bool
	// gone: the root existed and does not any more.
	gone atomic.Bool
	// czxid is the transaction that created the root, and ctime the time of that
	// transaction. Both are 0 until the root has been found.
	czxid, ctime atomic.Int64
}

// lookForRoot asks whether the root exists and which transaction created it. It does so before
// anything is read, and again whenever the root may have been deleted and created anew. A
// snapshot must not have the czxid of an earlier root in its header.
func (p *views) lookForRoot() {
	path := p.c.cfg.Root
	p.session.client.ExistsAsync(path, true, func(st zk.Stat, err error) {
		err = p.session.trust(err)
		absent := errors.Is(err, zk.ErrNoNode)
		switch {
		case err == nil:
			p.root.czxid.Store(st.Czxid)
			p.root.ctime.Store(st.Ctime.UnixMilli())
			if p.root.found.Load() {
				p.rootIsBack()
				return
			}
			p.compare()
			p.root.found.Store(true)
			p.readAll(true)
		case !p.root.found.Load() && absent:
			p.fail(nil, translate(p.noRoot()))
		case !p.root.found.Load():
			p.fail(nil, translate(err)) // the next onReady asks again
		case absent && !p.root.gone.Swap(true):
			err := fmt.Errorf("%w; what was read before is served: restore the root, or restart magellan to begin with nothing", p.noRoot())
			p.c.problems.report(path, err, 0, p.root.czxid.Load())
		}
	})
}

func (p *views) noRoot() error { return fmt.Errorf("%w: %s", ErrNoRoot, p.c.cfg.Root) }

// rootIsBack reads again all that was not taken for absent while the root was gone.
func (p *views) rootIsBack() {
	if !p.root.gone.Swap(false) {
		return
	}
	p.c.problems.resolve(p.c.cfg.Root)
	p.readAll(false)
	for _, s := range p.c.sessions.list() {
		s.mu.Lock()
		s.revalidate(true)
		s.mu.Unlock()
	}
}

// seeRoot calls then once it is known whether the session sees the root: with nil, or with
// ErrNoRoot if the root does not exist. Only after that something is taken for absent because
// the session does not find it. seeRoot runs on the dispatcher goroutine.
func (s *session) seeRoot(then func(error)) {
	e, p := s.epoch.Load(), &s.c.views
	if e.rootSeen.Load() && !p.root.gone.Load() {
		then(nil)
		return
	}
	s.client.ExistsAsync(s.c.cfg.Root, false, func(_ zk.Stat, err error) {
		err = s.trust(err)
		// Only views.session finds out that the root is gone or is back, because its
		// watch announces the next change, and another session may be behind.
		if errors.Is(err, zk.ErrNoNode) || err == nil && p.root.gone.Load() {
			p.lookForRoot()
		}
		switch {
		case errors.Is(err, zk.ErrNoNode):
			then(p.noRoot())
		case passes(err):
			then(err)
		default:
			e.rootSeen.Store(true)
			then(nil)
		}
	})
}

// compare discards what a snapshot has brought if the snapshot is of another ensemble, or of a
// root that was deleted since. None of it has ever been below this root, so the shrink guard
// must not take it for lost.
func (p *views) compare() {
	h := p.c.snapshot.header
	if h == nil || h.RootCzxid == p.root.czxid.Load() && h.RootCtime == p.root.ctime.Load() {
		return
	}
	p.c.log.Warn("the snapshot is not used: it is of another ensemble, or the root has been created anew",
		"root_czxid", p.root.czxid.Load(), "snapshot_root_czxid", h.RootCzxid)
	for _, v := range p.all {
		v.outdate(func() {
			for _, s := range v.sets {
				s.clear()
			}
			v.published = 0 // because nothing is published until all has been read
		})
		v.drop()
	}
}
