package discovery

import "time"

// CacheStatus says how an answer was come by. Larger is worse: an answer made
// of several reads carries the largest.
type CacheStatus uint8

const (
	// Hit: answered from memory, under a live watch.
	Hit CacheStatus = iota
	// Miss: ZooKeeper was asked for this answer.
	Miss
	// Updating: the last known value; ZooKeeper is there and has announced a
	// change, and the new value is being read or an answer made of it.
	Updating
	// Stale: the last known value, and nobody knows when there will be a newer one:
	// ZooKeeper is away, or what it holds cannot be served.
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
	// Zxid is the newest ZooKeeper transaction among the znodes the answer was
	// made from; 0 where there is none (an absent znode has no zxid).
	Zxid int64
	// Age is the time since the answer was last known to be true, counted from
	// the last contact with the server.
	Age time.Duration
	// Cache says how the answer was come by.
	Cache CacheStatus
}

// Join returns the meta data of an answer made of two reads: the newest zxid,
// the greater age, the worse status.
func (m Meta) Join(o Meta) Meta {
	return Meta{Zxid: max(m.Zxid, o.Zxid), Age: max(m.Age, o.Age), Cache: max(m.Cache, o.Cache)}
}

// ReadOptions says how fresh an answer must be. The zero value takes what the
// cache has.
//
// What reads znodes knows of Fresh and MinZxid only; [Within] sees to the others.
type ReadOptions struct {
	// Fresh asks for the value ZooKeeper holds now: a sync with the leader
	// first, then the read. It is as good as that sync: the leader answers its own
	// clients' before it has applied the last of what followers have acknowledged.
	Fresh bool
	// MinZxid asks for an answer of a state that has this transaction in it, so
	// that clients read their own writes: from memory where that is known to be
	// as new, else from ZooKeeper once that has come to it. 0 asks for none; a
	// negative one is no transaction and is refused with [ErrInvalidRequest].
	MinZxid int64
	// MaxAge is the greatest age of an answer from memory; an older one is read
	// as Fresh. 0 is no bound.
	MaxAge time.Duration
	// StaleIfError is the greatest age of a [Stale] answer: where ZooKeeper cannot
	// be asked an answer of that age will do, even if Fresh or MaxAge asks for
	// a newer one, and an older one will not. 0 leaves it to the [Bound], and
	// gives Fresh and MaxAge no second best; negative is none.
	StaleIfError time.Duration
}

// Takes reports whether an answer from memory is fresh enough. MinZxid is the
// reader's matter.
func (o *ReadOptions) Takes(m Meta) bool {
	if o.MaxAge != 0 && m.Age > o.MaxAge {
		return false
	}
	return o.StaleIfError == 0 || m.Cache != Stale || m.Age <= o.StaleIfError
}
