package cache

import (
	"errors"
	"fmt"
	"sync/atomic"

	"magellan/internal/zk"
)

// ErrNoRoot is returned by [Cache.WaitReady] where ZooKeeper answers but the
// root znode does not exist.
var ErrNoRoot = errors.New("the root znode does not exist")

// root is what is known of the root znode. A ZooKeeper without it was emptied, or is not
// the one that is meant: that nothing is below the root does not mean that nothing should
// be there. So nothing is asked for until the root is found. If it is gone later, nothing
// is taken for absent because of that: what is held is served, STALE.
type root struct {
	// found: it has existed. Only the dispatcher goroutine of views.session sets it.
	found atomic.Bool
	// gone: it exists no longer.
	gone atomic.Bool
	// czxid is the transaction that created it, and ctime its time; 0 until it has been
	// found.
	czxid, ctime atomic.Int64
}

// lookForRoot asks whether there is a root, and which: before anything is read, and
// again whenever it may be another. A snapshot must not be written under the name of
// what ZooKeeper held before.
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
			err := fmt.Errorf("%w; what was read before is served: restore it, or restart magellan if it is to begin with nothing", p.noRoot())
			p.c.problems.report(path, err, 0, p.root.czxid.Load())
		}
	})
}

func (p *views) noRoot() error { return fmt.Errorf("%w: %s", ErrNoRoot, p.c.cfg.Root) }

// rootIsBack reads what was not believed to be absent.
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

// seeRoot calls then once it is known whether the root exists, before what the session
// says is absent is believed; with ErrNoRoot if not. It runs on the dispatcher.
func (s *session) seeRoot(then func(error)) {
	e, p := s.epoch.Load(), &s.c.views
	if e.rootSeen.Load() && !p.root.gone.Load() {
		then(nil)
		return
	}
	s.client.ExistsAsync(s.c.cfg.Root, false, func(_ zk.Stat, err error) {
		err = s.trust(err)
		// Only views.session decides that it is gone, and that it is back: its watch
		// tells of what comes next, and another session may be behind.
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

// compare drops what a snapshot has brought that is of another ensemble, or of a
// root that was deleted since: none of it has ever been true here, and the shrink
// guard must not miss it.
func (p *views) compare() {
	h := p.c.snapshot.header
	if h == nil || h.RootCzxid == p.root.czxid.Load() && h.RootCtime == p.root.ctime.Load() {
		return
	}
	p.c.log.Warn("the snapshot is of another ensemble, or the root has been created anew: it is dropped",
		"root_czxid", p.root.czxid.Load(), "snapshot_root_czxid", h.RootCzxid)
	for _, v := range p.all {
		v.outdate(func() {
			for _, s := range v.sets {
				s.clear()
			}
			v.published = 0 // nothing is, until all has been read
		})
		v.drop()
	}
}
