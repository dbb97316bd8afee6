package cache

import (
	"errors"
	"fmt"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// maxTries bounds how often one load asks again: after a lost connection, or
// when the znode comes and goes between get and exists.
const maxTries = 8

// load is one read of the znode of one entry, shared by everybody who waits for it.
// It walks get -> (absent) root -> exists -> done on its session's dispatcher goroutine,
// get and exists with a watch: what they say is installed before anything else happens.
type load struct {
	s    *session
	e    *entry
	hash uint64
	path string
	// lane is where it waits. queued: it has a place there; it must not have two, or
	// it would end twice. Both under s.mu.
	lane   lane
	queued bool
	// place is the lane that its place in flight is counted in.
	place lane
	// syncFirst: the key may have been served from another session since this
	// one last synced.
	syncFirst bool
	// synced: it has synced.
	synced bool
	// once: for its callers only, without a watch, and not kept.
	once  bool
	tries int
	// removal follows the load where its entry was evicted meanwhile. Under the
	// shard's lock.
	removal *removal

	// done is closed when rec, err and zxid are set.
	done chan struct{}
	rec  *record
	err  error
	// zxid is the newest transaction that the session had come to with the answer; 0
	// where libzookeeper does not tell.
	zxid int64
}

func (l *load) issue() {
	if !l.syncFirst {
		l.get()
		return
	}
	l.s.sync(func(err error) {
		if err != nil {
			l.retry(err)
			return
		}
		l.syncFirst, l.synced = false, true
		l.get()
	})
}

// fail ends a load that never got a place in flight.
func (l *load) fail(err error) { l.s.c.finish(l, nil, err) }

func (l *load) get() { l.s.client.GetAsync(l.path, !l.once, l.onGet) }

func (l *load) onGet(data []byte, st zk.Stat, err error) {
	switch err = l.s.trust(err); {
	case err == nil:
		l.found(data, st)
	case errors.Is(err, zk.ErrNoNode):
		l.s.seeRoot(l.onRoot)
	case errors.Is(err, zk.ErrNoAuth) && l.e.rec.Load() != nil:
		l.onDenied(err)
	default:
		l.retry(err)
	}
}

// onRoot goes on with a znode that does not exist, unless the root does not either.
func (l *load) onRoot(err error) {
	switch {
	case err != nil:
		l.retry(err)
	case l.once:
		l.absent()
	default:
		l.s.client.ExistsAsync(l.path, true, l.onExists)
	}
}

func (l *load) onExists(_ zk.Stat, err error) {
	switch err = l.s.trust(err); {
	case errors.Is(err, zk.ErrNoNode):
		l.absent()
	case err != nil:
		l.retry(err)
	case l.tries >= maxTries:
		l.complete(nil, fmt.Errorf("%w: %s comes and goes faster than it can be read", discovery.ErrUnavailable, l.path))
	default:
		l.tries++
		l.get()
	}
}

// onDenied handles that a znode that was read before may not be read any more. The load
// asks all the same whether it holds still what it held, because ZooKeeper tells everybody
// which transaction wrote a znode.
func (l *load) onDenied(denied error) {
	s := l.s
	s.client.ExistsAsync(l.path, false, func(st zk.Stat, err error) {
		switch err = s.trust(err); {
		case passes(err):
			l.retry(err)
			return
		case errors.Is(err, zk.ErrNoNode): // deleted between the two
			l.retry(errMoved)
			return
		}
		old := l.e.rec.Load()
		var rec *record
		switch epoch := s.epoch.Load(); {
		case old.value == nil: // it exists, and nothing is known of it
			rec = unread(st.Mzxid, epoch, s.verified())
		case st.Mzxid == old.zxid: // still true, without a watch
			rec = old.unwatched(epoch, s.verified())
		default:
			rec = old.unserved(epoch, 1) // nobody knows since when
		}
		l.missed(st, denied)
		s.c.problems.report(l.path, denied, st.Mzxid, old.zxid)
		l.complete(rec, nil)
		s.c.notify.lookAgain(l.topic()) // no event tells of its next change
	})
}

// missed notes that what was vouched for until this read has brought something else is
// nothing that an event has told the end of.
func (l *load) missed(st zk.Stat, err error) {
	if old := l.e.rec.Load(); old != nil && old.vouched() && old.zxid != st.Mzxid {
		l.s.missed(l.path, old.zxid, st.Mzxid, st, err)
	}
}

func (l *load) absent() {
	l.missed(zk.Stat{}, zk.ErrNoNode)
	l.s.c.problems.resolve(l.path)
	l.complete(absent(l.s.epoch.Load()), nil)
}

// found makes a record of the znode's bytes. Where they do not parse, the last
// good value stays and the znode becomes a problem.
func (l *load) found(data []byte, st zk.Stat) {
	c := l.s.c
	old := l.e.rec.Load()
	if old != nil && st.Mzxid < old.zxid && !(l.synced && (old.restored() || l.lost(old))) {
		// Only a server that lags behind what has been served can say so. A
		// snapshot may have been another ensemble's, and an ensemble may be restored
		// from a backup: then a sync changes nothing.
		l.syncFirst = true
		l.retry(errBehind)
		return
	}
	l.missed(st, nil)
	epoch := l.s.epoch.Load()
	value, err := c.kindOf(l.e).decode(l.e.name, data, statOf(st))
	switch {
	case err == nil:
		c.problems.resolve(l.path)
		l.complete(present(value, st.Mzxid, epoch), nil)
	case old != nil && old.value != nil:
		c.problems.report(l.path, err, st.Mzxid, old.zxid)
		l.complete(old.unserved(epoch, l.s.verified()), nil)
	default:
		c.problems.report(l.path, err, st.Mzxid, 0)
		l.complete(broken(st.Mzxid, epoch), nil)
	}
}

// statOf is what decoders are told of a znode.
func statOf(st zk.Stat) discovery.Stat { return discovery.Stat{Mzxid: st.Mzxid} }

// topic is what changes of the thing are published under.
func (l *load) topic() discovery.Topic { return l.s.c.kindOf(l.e).topic(l.e.name) }

// lost reports whether ZooKeeper has lost the transaction that wrote old: reads
// after a sync have shown an older one for longer than a server can take itself
// for the leader after the others have chosen another.
func (l *load) lost(old *record) bool {
	s := l.s
	if old.meta(s.c.now()).Age < s.c.cfg.ZooKeeper.LostAfter {
		return false
	}
	if !s.epoch.Load().toldLost.Swap(true) {
		s.c.log.Error("ZooKeeper has lost transactions, as after a restore from a backup; what it holds now is served",
			"session", s.number, "path", l.path, "held_zxid", old.zxid)
	}
	return true
}

// retry queues the load again after an error that a new connection cures.
func (l *load) retry(err error) {
	if !transient(err) || l.tries >= maxTries {
		if errors.Is(err, zk.ErrNoAuth) {
			l.s.c.problems.report(l.path, err, 0, 0)
		}
		l.complete(nil, translate(err))
		return
	}
	l.tries++
	place := l.place // once it is queued it may get another
	l.s.submit(l)
	l.s.vacate(place)
	l.s.pump()
}

func (l *load) complete(rec *record, err error) {
	l.zxid = l.s.client.Zxid()
	l.s.c.finish(l, rec, err)
	l.s.vacate(l.place)
	l.s.pump()
}

var (
	// errBehind: the server says what was true before what has been served.
	errBehind = errors.New("ZooKeeper tells an older state than has been served; if it was restored from a backup, it is believed within a minute")
	// errMoved: the znode has changed while it was being read.
	errMoved = errors.New("the znode changes while it is being read")
)

// transient reports whether a read that ended in err may be tried again on the
// same session once that is live.
func transient(err error) bool {
	return errors.Is(err, zk.ErrConnectionLoss) || errors.Is(err, zk.ErrSessionExpired) ||
		errors.Is(err, zk.ErrOperationTimeout) || errors.Is(err, zk.ErrInvalidState) ||
		errors.Is(err, errBehind) || errors.Is(err, errMoved)
}

// translate turns a ZooKeeper error into one of the domain's.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, zk.ErrNoNode):
		return discovery.ErrNotFound
	case errors.Is(err, zk.ErrClosed):
		return errClosed
	case errors.Is(err, zk.ErrNoAuth):
		return fmt.Errorf("%w: %w", discovery.ErrUnread, err)
	default:
		return fmt.Errorf("%w: %w", discovery.ErrUnavailable, err)
	}
}
