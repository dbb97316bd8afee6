package shops

import (
	"context"

	"magellan/internal/discovery"
)

// ShopRead is what [Reader.Shops] has found out about one shop.
type ShopRead = discovery.Read[Home]

// Reader returns decoded znodes. [discovery.KeyedReader] and [discovery.ViewReader] say what
// callers may rely on. [Mirrors] is a Reader; tests have others.
type Reader interface {
	// Shop returns where one shop lives.
	Shop(ctx context.Context, name string, opt discovery.ReadOptions) (*Home, discovery.Meta, error)
	// Shops reads many shops at once, the i-th into out[i].
	Shops(ctx context.Context, names []string, opt discovery.ReadOptions, out []ShopRead)
	// Topology returns all regions and datacenters that are held. Doubts about some of
	// them are part of the topology: see [Topology.WithDoubts].
	Topology(ctx context.Context, opt discovery.ReadOptions) (*Topology, discovery.Meta, error)
	// Blocklist returns the union of all bad-citizen lists that are held.
	Blocklist(ctx context.Context, opt discovery.ReadOptions) (*Blocklist, discovery.Meta, error)
	discovery.Watcher
}

// Mirrors is the [Reader] that answers from what a cache holds of a [Layout]. Each field
// reads what the method of Layout beside it describes.
type Mirrors struct {
	Homes      discovery.KeyedReader[Home]     // Layout.Homes
	Topologies discovery.ViewReader[Topology]  // Layout.Topologies
	Blocklists discovery.ViewReader[Blocklist] // Layout.Blocklists
	discovery.Watcher
}

var _ Reader = (*Mirrors)(nil)

// Shop implements [Reader].
func (m *Mirrors) Shop(ctx context.Context, name string, opt discovery.ReadOptions) (*Home, discovery.Meta, error) {
	return m.Homes.Get(ctx, name, opt)
}

// Shops implements [Reader].
func (m *Mirrors) Shops(ctx context.Context, names []string, opt discovery.ReadOptions, out []ShopRead) {
	m.Homes.GetMany(ctx, names, opt, out)
}

// Topology implements [Reader].
func (m *Mirrors) Topology(ctx context.Context, opt discovery.ReadOptions) (*Topology, discovery.Meta, error) {
	return m.Topologies.Get(ctx, opt)
}

// Blocklist implements [Reader].
func (m *Mirrors) Blocklist(ctx context.Context, opt discovery.ReadOptions) (*Blocklist, discovery.Meta, error) {
	return m.Blocklists.Get(ctx, opt)
}
