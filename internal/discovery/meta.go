package discovery

import "time"

// CacheStatus says where an answer comes from. A larger status is worse: an answer that is
// made of several reads has the largest of their statuses.
type CacheStatus uint8

const (
	// Hit: the answer comes from memory, and a live watch vouches for it.
	Hit CacheStatus = iota
	// Miss: ZooKeeper was asked for this answer.
	Miss
	// Updating: the answer is the last known one. ZooKeeper is within reach and has
	// announced a change, and the new value is being read, or a new answer is being made
	// of it.
	Updating
	// Stale: the answer is the last known one, and it is not known when there will be a
	// newer one, because ZooKeeper is out of reach or what it holds cannot be served.
	Stale
)

// String returns the value of the X-Cache header: HIT, MISS, UPDATING or STALE.
func (s CacheStatus) String() string {
	switch s {
	case Hit:
		return "HIT"
	case Miss:
		return "MISS"
	case Updating:
		return "UPDATING"
	default:
		return "STALE"
	}
}

// Meta says what is known of an answer besides its value.
type Meta struct {
	// Zxid is the newest of the transactions that wrote the znodes of which the answer is
	// made. It is 0 if there is no such znode: one that does not exist has no zxid.
	Zxid int64
	// Age is the time since the answer was last known to be true. While a watch vouches
	// for the answer, that is when the session's last completed sync was issued.
	Age time.Duration
	// Cache says where the answer comes from.
	Cache CacheStatus
}

// Join returns the meta data of an answer that is made of two reads: the newer zxid, the
// greater age and the worse status.
func (m Meta) Join(o Meta) Meta {
	return Meta{Zxid: max(m.Zxid, o.Zxid), Age: max(m.Age, o.Age), Cache: max(m.Cache, o.Cache)}
}

// ReadOptions says how fresh an answer must be. The zero value allows whatever the cache
// has in memory.
//
// Readers of znodes look at Fresh and MinZxid only. [Within] handles the other options.
type ReadOptions struct {
	// Fresh requires the value that ZooKeeper holds now: the session syncs with the leader
	// first, and then the value is read. The value is as new as that sync. The leader
	// answers a sync of one of its own clients before it has applied the last writes that
	// followers have acknowledged, so that these may be missing.
	Fresh bool
	// MinZxid requires an answer of a state that has this transaction in it, so that a
	// client can read its own writes. The answer comes from memory if that is known to
	// have the transaction, and otherwise from ZooKeeper once ZooKeeper has reached the
	// transaction. 0 requires none. A negative number is no transaction, and is refused
	// with [ErrInvalidRequest].
	MinZxid int64
	// MaxAge is the greatest age of an answer from memory. If the answer is older, it is
	// read again as with Fresh. 0 means no bound.
	MaxAge time.Duration
	// StaleIfError is the greatest age of a [Stale] answer. If ZooKeeper cannot be asked,
	// an answer of at most that age is given even if Fresh or MaxAge requires a newer one,
	// and an older answer is refused. With 0 only the [Bound] limits the age of a stale
	// answer, and a request with Fresh or MaxAge fails if ZooKeeper cannot be asked. A
	// negative duration allows no stale answer.
	StaleIfError time.Duration
}

// Takes reports whether an answer from memory is fresh enough for MaxAge and StaleIfError.
// The reader has handled MinZxid.
func (o *ReadOptions) Takes(m Meta) bool {
	if o.MaxAge != 0 && m.Age > o.MaxAge {
		return false
	}
	return o.StaleIfError == 0 || m.Cache != Stale || m.Age <= o.StaleIfError
}
