package shops

import (
	"context"

	"magellan/internal/discovery"
)

// ShopRead is one outcome of [Reader.Shops].
type ShopRead struct {
	Shop Shop
	Meta discovery.Meta
	// Err is nil, or what Reader.Shop would have returned for this shop.
	Err error
}

// Reader gives decoded znodes. internal/cache satisfies it; tests write their
// own by hand.
//
// Implementations are safe for concurrent use. A call returns as soon as ctx
// ends, with its error; whatever the call set in motion may go on for others.
// Meta is filled in on [discovery.ErrNotFound] as well: absence is an answer too.
//
// Errors are [discovery.ErrNotFound], [discovery.ErrInvalidName], [discovery.ErrBadData], [discovery.ErrZxidNotReached],
// [discovery.ErrUnavailable] and [discovery.ErrOverloaded], or wrap one of them. A Reader refuses the names of shops
// that [discovery.ValidateName] refuses, with its error, before it asks ZooKeeper: a name
// that is in memory needs no such look.
type Reader interface {
	// Shop returns one shop's record.
	Shop(ctx context.Context, name string, opt discovery.ReadOptions) (Shop, discovery.Meta, error)
	// Shops reads many shops at once, the i-th into out[i]; len(out) must be at
	// least len(names). It allocates nothing for shops that are in memory.
	Shops(ctx context.Context, names []string, opt discovery.ReadOptions, out []ShopRead)
	// Topology returns all regions and datacenters that are held. Meta says how
	// well that is known which there is no doubt of; the others are the topology's
	// Doubts, see [Topology.WithDoubts].
	Topology(ctx context.Context, opt discovery.ReadOptions) (*Topology, discovery.Meta, error)
	// Blocklist returns the union of all bad-citizen lists that are held, like
	// Topology.
	Blocklist(ctx context.Context, opt discovery.ReadOptions) (*Blocklist, discovery.Meta, error)
	// Watch tells o of changes of t. Who watches, then reads, and waits if what
	// was read is what it knows, misses no change that a read would have shown.
	Watch(t discovery.Topic, o discovery.Observer) *discovery.Watch
}
