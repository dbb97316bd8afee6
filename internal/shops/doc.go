// Package shops is the first domain of magellan: shops, the datacenters and regions in which
// they live, the placement of new shops, and bad citizens.
//
// The package has the decoders of the znodes' bytes ([DecodeShop] and the like), the paths
// of the znodes ([Layout]), and the answers that are made of decoded values ([Service]). It
// depends on neither ZooKeeper nor the cache nor HTTP: it reads through its own small
// interface, [Reader], for which [Mirrors] uses the readers of internal/cache. And
// internal/httpapi turns its answers into bytes and its errors into a status.
//
// A [Topology] or [Blocklist] is immutable, and any number of goroutines may share it.
package shops
