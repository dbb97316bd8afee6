// Package shops is the domain that magellan began with: shops, the datacenters and
// regions they live in, the placement of new shops, and bad citizens.
//
// It knows how each znode's bytes are decoded ([DecodeShop] and its siblings),
// where each znode stands ([Layout]) and how questions are answered from
// decoded values ([Service]). It does not know ZooKeeper, the cache or HTTP:
// it reads through its own small [Reader], which internal/cache satisfies, and
// internal/httpapi turns its answers into bytes and its errors into a status.
//
// Values handed out ([Topology], [Blocklist]) are immutable and may be shared
// by any number of goroutines.
package shops
