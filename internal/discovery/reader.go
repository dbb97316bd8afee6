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
	// Stale: the last known value; ZooKeeper cannot vouch for it now.
	Stale
)

// String returns the value of the X-Cache header: HIT, MISS or STALE.
func (s CacheStatus) String() string {
	switch s {
	case Hit:
		return "HIT"
	case Miss:
		return "MISS"
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
type ReadOptions struct {
	// Fresh asks for the value ZooKeeper holds now: a sync with the leader
	// first, then the read.
	Fresh bool
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
// Errors are [ErrNotFound], [ErrInvalidName], [ErrBadData], [ErrUnavailable]
// and [ErrOverloaded], or wrap one of them. A Reader refuses the names of shops
// that [ValidateName] refuses, with its error, before it asks ZooKeeper: a name
// that is in memory needs no such look.
type Reader interface {
	// Shop returns one shop's record.
	Shop(ctx context.Context, name string, opt ReadOptions) (Shop, Meta, error)
	// Shops reads many shops at once, the i-th into out[i]; len(out) must be at
	// least len(names). It allocates nothing for shops that are in memory.
	Shops(ctx context.Context, names []string, opt ReadOptions, out []ShopRead)
	// Topology returns all regions and datacenters.
	Topology(ctx context.Context, opt ReadOptions) (*Topology, Meta, error)
	// Blocklist returns the union of all bad-citizen lists.
	Blocklist(ctx context.Context, opt ReadOptions) (*Blocklist, Meta, error)
}
