package cache

import (
	"sync/atomic"
	"time"
	"unique"

	"magellan/internal/discovery"
)

// instant is a point in time as nanoseconds since the cache was opened, on the
// monotonic clock. 0 means never; the cache's own clock starts at 1.
type instant int64

// epoch is one ZooKeeper session in the life of a [session]: the span in which
// its watches hold. Records point at the epoch that vouches for them, so that
// the end of a session unvouches all of them with one store.
type epoch struct {
	session *session
	// ended is when the values of this epoch were last known to be true, 0
	// while it goes on.
	ended atomic.Int64
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
	// since is 0 while the watch vouches for the record, else the last instant
	// at which it was known to be what ZooKeeper holds: the watch has fired and
	// the next read is under way, or the znode's newer bytes do not parse.
	since instant
}

var nothing unique.Handle[string]

// vouched reports whether the record is under a watch that holds.
func (r *record) vouched() bool { return r.since == 0 && r.epoch.ended.Load() == 0 }

// superseded returns the record as it is to be served once it is no longer
// what ZooKeeper holds.
func (r *record) superseded(at instant) *record {
	if !r.vouched() {
		return r
	}
	c := *r
	c.since = at
	return &c
}

// meta says how well the record is known at now.
func (r *record) meta(now instant) discovery.Meta {
	s := r.epoch.session
	m := discovery.Meta{Zxid: r.zxid, Cache: discovery.Stale}
	verified := r.since
	if verified == 0 {
		// Whether the epoch goes on is asked last: what the session says then was
		// said of this epoch and not of the next.
		live := s.live.Load()
		verified = s.verified()
		if ended := instant(r.epoch.ended.Load()); ended != 0 {
			verified = ended
		} else if live {
			m.Cache = discovery.Hit
		}
	}
	m.Age = time.Duration(max(0, now-verified))
	return m
}

// shop returns what the record answers for the shop of that name.
func (r *record) shop(name string) (discovery.Shop, error) {
	switch {
	case r.datacenter != nothing:
		return discovery.Shop{Name: name, Datacenter: r.datacenter.Value()}, nil
	case r.zxid == 0:
		return discovery.Shop{}, discovery.ErrNotFound
	default:
		return discovery.Shop{}, discovery.ErrBadData
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
