package discovery

import (
	"context"
	"time"
)

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
// A [Reader] knows of Fresh and MinZxid only; the [Service] sees to the others.
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
	// a newer one, and an older one will not. 0 leaves it to Config.MaxStale, and
	// gives Fresh and MaxAge no second best; negative is none.
	StaleIfError time.Duration
}

// takes reports whether an answer from memory is fresh enough. MinZxid is the
// Reader's matter.
func (o *ReadOptions) takes(m Meta) bool {
	if o.MaxAge != 0 && m.Age > o.MaxAge {
		return false
	}
	return o.StaleIfError == 0 || m.Cache != Stale || m.Age <= o.StaleIfError
}

// ShopRead is one outcome of [Reader.Shops].
type ShopRead struct {
	Shop Shop
	Meta Meta
	// Err is nil, or what Reader.Shop would have returned for this shop.
	Err error
}

// Reader gives decoded znodes. internal/cache satisfies it; tests write their
// own by hand.
//
// Implementations are safe for concurrent use. A call returns as soon as ctx
// ends, with its error; whatever the call set in motion may go on for others.
// Meta is filled in on [ErrNotFound] as well: absence is an answer too.
//
// Errors are [ErrNotFound], [ErrInvalidName], [ErrBadData], [ErrZxidNotReached],
// [ErrUnavailable] and [ErrOverloaded], or wrap one of them. A Reader refuses the names of shops
// that [ValidateName] refuses, with its error, before it asks ZooKeeper: a name
// that is in memory needs no such look.
type Reader interface {
	// Shop returns one shop's record.
	Shop(ctx context.Context, name string, opt ReadOptions) (Shop, Meta, error)
	// Shops reads many shops at once, the i-th into out[i]; len(out) must be at
	// least len(names). It allocates nothing for shops that are in memory.
	Shops(ctx context.Context, names []string, opt ReadOptions, out []ShopRead)
	// Topology returns all regions and datacenters that are held. Meta says how
	// well that is known which there is no doubt of; the others are the topology's
	// Doubts, see [Topology.WithDoubts].
	Topology(ctx context.Context, opt ReadOptions) (*Topology, Meta, error)
	// Blocklist returns the union of all bad-citizen lists that are held, like
	// Topology.
	Blocklist(ctx context.Context, opt ReadOptions) (*Blocklist, Meta, error)
	// Watch tells o of changes of t. Who watches, then reads, and waits if what
	// was read is what it knows, misses no change that a read would have shown.
	Watch(t Topic, o Observer) *Watch
}
