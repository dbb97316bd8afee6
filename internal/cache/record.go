package cache

import (
	"sync/atomic"
	"time"
	"unsafe"

	"magellan/internal/discovery"
)

// epoch is one ZooKeeper session in the life of a [session]: the span in which
// its watches hold. Records point at the epoch that vouches for them, so that
// the end of a session unvouches all of them with one store.
type epoch struct {
	session *session
	// ended is when the values of this epoch were last known to be true, 0
	// while it goes on.
	ended atomic.Int64
	// rootSeen: the root exists in what this epoch sees.
	rootSeen atomic.Bool
	// toldLost: it has been logged that ZooKeeper has lost transactions.
	toldLost atomic.Bool
}

// record is what is known of the znode of one thing. It is immutable; 32 bytes, because
// there may be millions. The functions and methods of this file make all records, which
// are of four sorts (the picture in ARCHITECTURE.md shows how one follows the other):
//
//	present  value, zxid       what the znode holds, or held last
//	absent   no value, zxid 0  there is no such znode
//	broken   no value, zxid    its bytes do not parse, and never did
//	unread   no value, zxid,   it exists, may not be read, and never could be;
//	         and a doubt       if its kind is revocable, it could be before
//
// Each of them is vouched for by a watch, or in doubt, or of an epoch that has ended.
type record struct {
	// value is a *T of the entry's kind; see [kind].
	value unsafe.Pointer
	// zxid is the transaction that wrote what is served, 0 for an absent znode.
	zxid int64
	// epoch is the session whose watch was set by the read of this record.
	epoch *epoch
	// doubt is 0 while the watch vouches for the record. Otherwise the watch has fired
	// and the next read is under way, or the znode's newer bytes cannot be served.
	doubt doubt
}

// present is the record of a znode whose bytes, written by zxid, parse.
func present(value unsafe.Pointer, zxid int64, in *epoch) *record {
	return &record{value: value, zxid: zxid, epoch: in}
}

// absent is the record of a znode that does not exist.
func absent(in *epoch) *record { return &record{epoch: in} }

// broken is the record of a znode whose bytes, written by zxid, do not parse.
func broken(zxid int64, in *epoch) *record { return &record{zxid: zxid, epoch: in} }

// unread is the record of a znode that exists and may not be read, known at an instant.
// zxid has written its bytes.
func unread(zxid int64, in *epoch, at instant) *record {
	return &record{zxid: max(1, zxid), epoch: in, doubt: newDoubt(at, false)}
}

// restored is the record of a znode as a snapshot has it, which was known to be true last
// at an instant before this process began.
func restored(value unsafe.Pointer, zxid int64, in *epoch, at instant) *record {
	return &record{value: value, zxid: zxid, epoch: in, doubt: newDoubt(at, false)}
}

// isUnread reports whether nothing is known but that the znode exists.
func (r *record) isUnread() bool {
	return r.value == nil && r.exists() && r.doubt != 0 && !r.doubt.reading()
}

// exists reports whether the znode does, as far as is known.
func (r *record) exists() bool { return r.zxid != 0 }

// vouched reports whether the record is under a watch that holds.
func (r *record) vouched() bool { return r.doubt == 0 && r.epoch.ended.Load() == 0 }

// superseded returns the record as it is to be served while its next read is under
// way, as ZooKeeper has announced a change.
func (r *record) superseded(at instant) *record {
	if r.epoch.ended.Load() != 0 || r.isUnread() {
		return r // the event was of a watch from before the znode became unreadable
	}
	c := *r
	if c.doubt == 0 {
		c.doubt = newDoubt(at, true)
	} else {
		c.doubt |= 1
	}
	return &c
}

// unserved returns the record as it is to be served when a read in the given epoch
// has brought nothing to serve in its place. at is the last instant at which it may
// have been what ZooKeeper holds, unless that is known better.
func (r *record) unserved(in *epoch, at instant) *record {
	c := *r
	if c.doubt == 0 {
		if ended := instant(c.epoch.ended.Load()); ended != 0 {
			at = ended // the session ended before the watch could fire
		}
		c.doubt = newDoubt(at, false)
	}
	c.doubt, c.epoch = c.doubt.stuck(), in
	return &c
}

// unwatched returns the record, which a read in the given epoch has found to be true at an
// instant although the znode may not be read: no watch will tell of its next change.
func (r *record) unwatched(in *epoch, at instant) *record {
	c := *r
	c.doubt, c.epoch = newDoubt(at, false), in
	return &c
}

// drifted returns the record after an audit has found that the znode holds what found has
// written, 0 if it does not exist. Nobody knows since when, and what is read next counts,
// even if it is older.
func (r *record) drifted(found int64) *record {
	c := *r
	c.doubt, c.zxid = newDoubt(1, true), min(r.zxid, found)
	return &c
}

// meta says how well the record is known at now.
func (r *record) meta(now instant) discovery.Meta {
	m := r.epoch.meta(r.doubt, now)
	m.Zxid = r.zxid
	return m
}

// meta says how well something is known at now that the epoch vouches for, up to a doubt.
func (e *epoch) meta(d doubt, now instant) discovery.Meta {
	s := e.session
	m := discovery.Meta{Cache: discovery.Stale}
	// Whether the epoch goes on is asked last: what the session says then was said of
	// this epoch and not of the next.
	live := s.live.Load()
	verified := s.verified()
	ended := instant(e.ended.Load())
	switch {
	case d != 0:
		verified = d.since()
		if live && ended == 0 && d.reading() {
			m.Cache = discovery.Updating
		}
	case ended != 0:
		verified = ended
	case live:
		m.Cache = discovery.Hit
	}
	m.Age = time.Duration(max(0, now-verified))
	return m
}
