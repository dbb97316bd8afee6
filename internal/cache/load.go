package cache

import (
	"errors"
	"fmt"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// maxTries is how often one load may try again after a lost connection, or because the znode
// was created or deleted between get and exists.
const maxTries = 8

// load is one read of the znode of one entry. All callers that wait for the entry share it. It
// walks get -> (absent) root -> exists -> done on its session's dispatcher goroutine. get and
// exists set a watch, and their answer is installed before the goroutine handles the next
// event. A load of children (kind.children) does not walk to exists: see onRoot.
type load struct {
	s    *session
	e    *entry
	hash uint64
	path string
	// lane is the lane in which the load waits. queued: it has a place in the lane. It must
	// not have two places, or it would run twice. Both fields are under s.mu.
	lane   lane
	queued bool
	// place is the lane in which the load's place in flight is counted.
	place lane
	// syncFirst: the session must sync before it reads, because another session may have
	// served the key since this one synced.
	syncFirst bool
	// synced: the session has synced for this load.
	synced bool
	// once: the load is for its callers only. It sets no watch, and its record is not kept.
	once  bool
	tries int
	// removal is submitted after the load, if the entry was evicted while the load was under
	// way. It is under the shard's lock.
	removal *removal

	// done is closed when rec, err and zxid are set.
	done chan struct{}
	rec  *record
	err  error
	// zxid is the newest transaction that the session had reached with the answer; 0 if
	// libzookeeper does not give it.
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

// fail ends a load that has no place in flight.
func (l *load) fail(err error) { l.s.c.finish(l, nil, err) }

func (l *load) get() { l.kind().read(l.s.client, l.path, !l.once, l.onGet) }

func (l *load) kind() *kind { return l.s.c.kindOf(l.e) }

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

// onRoot goes on with a znode that does not exist, if the root exists.
func (l *load) onRoot(err error) {
	switch {
	case err != nil:
		l.retry(err)
	case l.once:
		l.absent()
	case l.kind().children:
		l.unannounced()
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
		l.complete(nil, fmt.Errorf("%w: %s is created and deleted faster than it can be read", discovery.ErrUnavailable, l.path))
	default:
		l.tries++
		l.get()
	}
}

// onDenied handles that a znode that was read before may not be read any more. The load asks
// which transaction wrote the znode, because every session may ask that. If the transaction is
// the same, the znode still holds the same bytes.
func (l *load) onDenied(denied error) {
	s := l.s
	s.client.ExistsAsync(l.path, false, func(st zk.Stat, err error) {
		switch err = s.trust(err); {
		case passes(err):
			l.retry(err)
			return
		case errors.Is(err, zk.ErrNoNode): // it was deleted between get and exists
			l.retry(errMoved)
			return
		}
		old, zxid := l.e.rec.Load(), l.kind().zxidOf(st)
		var rec *record
		switch epoch := s.epoch.Load(); {
		case old.value == nil, l.kind().revocable: // it exists, and its value is not known
			rec = unread(zxid, epoch, s.verified())
		case zxid == old.zxid: // the value is still true, but no watch vouches for it
			rec = old.unwatched(epoch, s.verified())
		default:
			rec = old.unserved(epoch, 1) // it is not known since when the value is wrong
		}
		if !l.kind().revocable {
			l.missed(st, denied)
			s.c.problems.report(l.path, denied, zxid, old.zxid)
		}
		l.complete(rec, nil)
		s.c.notify.lookAgain(l.topic()) // because no event will announce the next change
	})
}

// missed reports a missed event if the old record is still vouched for and this read has
// brought another one: an event should have announced the change. If the entry has left the index
// during the read, the event may have come and not found it.
func (l *load) missed(st zk.Stat, err error) {
	if l.s.c.index.entry(l.hash) != l.e {
		return
	}
	k := l.kind()
	zxid := k.zxidOf(st)
	if old := l.e.rec.Load(); old != nil && old.vouched() && old.zxid != zxid {
		l.s.missed(l.path, old.zxid, zxid, k.hides(old.zxid, st, err))
	}
}

func (l *load) absent() {
	l.missed(zk.Stat{}, zk.ErrNoNode)
	l.s.c.problems.resolve(l.path)
	l.complete(absent(l.s.epoch.Load()), nil)
}

// unannounced completes a load of the children of a znode that does not exist. An exists watch
// would be the same for ZooKeeper as the one of an entry for the znode's bytes, and would go away
// with that entry's. So nothing announces the znode, and the record is in doubt from the beginning.
func (l *load) unannounced() {
	l.missed(zk.Stat{}, zk.ErrNoNode)
	epoch := l.s.epoch.Load()
	l.complete(absent(epoch).unwatched(epoch, l.s.verified()), nil)
	l.s.c.notify.lookAgain(l.topic())
}

// found makes a record of the znode's bytes. If the bytes do not parse, the last good value
// stays, and the znode becomes a problem.
func (l *load) found(data []byte, st zk.Stat) {
	c, k := l.s.c, l.kind()
	old, zxid := l.e.rec.Load(), k.zxidOf(st)
	if old != nil && zxid < old.zxid && !(l.synced && (old.restored() || l.lost(old))) {
		// This is older than what was served. Mostly the server lags behind, and the
		// answer is newer after a sync. If it is not, then a snapshot had brought the
		// old record from another ensemble, or the ensemble was restored from a backup.
		l.syncFirst = true
		l.retry(errBehind)
		return
	}
	l.missed(st, nil)
	epoch := l.s.epoch.Load()
	value, err := k.decode(l.e.name, data, statOf(st))
	switch {
	case err == nil:
		c.problems.resolve(l.path)
		l.complete(present(value, zxid, epoch), nil)
	case old != nil && old.value != nil:
		c.problems.report(l.path, err, zxid, old.zxid)
		l.complete(old.unserved(epoch, l.s.verified()), nil)
	default:
		c.problems.report(l.path, err, zxid, 0)
		l.complete(broken(zxid, epoch), nil)
	}
}

// topic is the topic under which changes of the thing are published.
func (l *load) topic() discovery.Topic { return l.kind().topic(l.e.name) }

// lost reports whether ZooKeeper has lost the transaction that wrote old. It is called if a read
// after a sync has brought an older transaction. A server may also bring one while it takes
// itself for the leader although the others have elected another. No server does so for
// LostAfter, so lost waits until old was last known to be true that long ago.
func (l *load) lost(old *record) bool {
	s := l.s
	if old.meta(s.c.now()).Age < s.c.cfg.ZooKeeper.LostAfter {
		return false
	}
	if !s.epoch.Load().toldLost.Swap(true) {
		s.c.log.Error("ZooKeeper has lost transactions, probably because it was restored from a backup; what it holds now is served",
			"session", s.number, "path", l.path, "held_zxid", old.zxid)
	}
	return true
}

// retry queues the load again if err is transient and the load may try again. Otherwise it ends
// the load.
func (l *load) retry(err error) {
	if !transient(err) || l.tries >= maxTries {
		if errors.Is(err, zk.ErrNoAuth) && !l.kind().revocable {
			l.s.c.problems.report(l.path, err, 0, 0)
		}
		l.complete(nil, translate(err))
		return
	}
	l.tries++
	place := l.place // because the load may get another place once it is queued
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
	// errBehind: the server's answer is older than what has been served.
	errBehind = errors.New("ZooKeeper answers with an older state than has been served; if it was restored from a backup, the older state is accepted within a minute")
	// errMoved: the znode was changed while it was being read.
	errMoved = errors.New("the znode changes while it is being read")
)

// transient reports whether a read that ended in err may succeed if it is tried again on the
// same session, once the session is live.
func transient(err error) bool {
	return errors.Is(err, zk.ErrConnectionLoss) || errors.Is(err, zk.ErrSessionExpired) ||
		errors.Is(err, zk.ErrOperationTimeout) || errors.Is(err, zk.ErrInvalidState) ||
		errors.Is(err, errBehind) || errors.Is(err, errMoved)
}

// translate returns the error of package discovery for a ZooKeeper error.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, zk.ErrNoNode):
		return discovery.ErrNotFound
	case errors.Is(err, zk.ErrClosed):
		return errClosed
	case errors.Is(err, zk.ErrNoAuth):
		return fmt.Errorf("%w: %w", discovery.ErrDenied, err)
	default:
		return fmt.Errorf("%w: %w", discovery.ErrUnavailable, err)
	}
}
