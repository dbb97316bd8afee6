package cache

import (
	"fmt"
	"sync/atomic"
	"time"
	"unique"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

// instant is a point in time as nanoseconds since the cache was opened, on the
// monotonic clock. 0 means never; the cache's own clock starts at 1.
type instant int64

// doubt is since when something is not known to be what ZooKeeper holds, and whether
// what ZooKeeper holds is being read. 0 is no doubt. The instant stands above the
// lowest bit, which is set while that is so.
type doubt int64

func newDoubt(since instant, reading bool) doubt {
	d := doubt(since) << 1
	if reading {
		d |= 1
	}
	return d
}

// since is the last instant of which there is no doubt.
func (d doubt) since() instant { return instant(d >> 1) }

// reading: ZooKeeper has announced a change, and it is being read.
func (d doubt) reading() bool { return d&1 != 0 }

// stuck is the same doubt when no read is under way that will end it.
func (d doubt) stuck() doubt { return d &^ 1 }

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

// record is what is known of one shop's znode. It is immutable; 32 bytes, as
// there may be millions.
type record struct {
	// datacenter is interned; the zero handle means that there is nothing to
	// serve: the znode is absent (zxid 0), or unreadable and never was readable.
	datacenter unique.Handle[string]
	// zxid is the transaction that wrote what is served, 0 for an absent znode.
	zxid int64
	// epoch is the session whose watch was set by the read of this record.
	epoch *epoch
	// doubt is 0 while the watch vouches for the record: else the watch has fired
	// and the next read is under way, or the znode's newer bytes cannot be served.
	doubt doubt
}

var nothing unique.Handle[string]

// vouched reports whether the record is under a watch that holds.
func (r *record) vouched() bool { return r.doubt == 0 && r.epoch.ended.Load() == 0 }

// superseded returns the record as it is to be served while its next read is under
// way, as ZooKeeper has announced a change.
func (r *record) superseded(at instant) *record {
	if r.epoch.ended.Load() != 0 {
		return r
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

// meta says how well the record is known at now.
func (r *record) meta(now instant) discovery.Meta {
	s := r.epoch.session
	m := discovery.Meta{Zxid: r.zxid, Cache: discovery.Stale}
	// Whether the epoch goes on is asked last: what the session says then was said of
	// this epoch and not of the next.
	live := s.live.Load()
	verified := s.verified()
	ended := instant(r.epoch.ended.Load())
	switch {
	case r.doubt != 0:
		verified = r.doubt.since()
		if live && ended == 0 && r.doubt.reading() {
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

// errUnread is an answer without a value: one, and no text of its own, as an answer from
// memory allocates nothing.
var errUnread = fmt.Errorf("%w: the shop's own znode exists and cannot be read; /admin/problems says why", discovery.ErrUnread)

// shop returns what the record answers for the shop of that name.
func (r *record) shop(name string) (shops.Shop, error) {
	switch {
	case r.datacenter != nothing:
		return shops.Shop{Name: name, Datacenter: r.datacenter.Value()}, nil
	case r.zxid == 0:
		return shops.Shop{}, discovery.ErrNotFound
	case r.doubt != 0 && !r.doubt.reading():
		return shops.Shop{}, errUnread
	default:
		return shops.Shop{}, discovery.ErrBadData
	}
}

// entry is one shop's place in the cache. Its identity is stable: ristretto and
// the index hold the pointer, only rec changes.
type entry struct {
	name string
	// rec is nil until the first read has come back.
	rec atomic.Pointer[record]
	// heat counts the seconds in which the entry was asked for; tick is the last
	// of them. They order revalidation. A lost increment does no harm.
	heat, tick atomic.Uint32
}

// touch notes that the entry was asked for at now. It reports whether that is
// the first time in this second: ristretto hears of no more, as its counters
// end at 15 and its lock and its memory would cost more than the answer.
func (e *entry) touch(now instant) bool {
	second := uint32(time.Duration(now) / time.Second)
	if e.tick.Load() == second {
		return false
	}
	e.tick.Store(second)
	e.heat.Add(1)
	return true
}
