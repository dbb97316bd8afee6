// Package services answers which instances a service has, from the znodes in which other
// programs register them: Curator, Dubbo, serversets, Kafka and others.
//
// A [Layout] knows how one community keeps services in ZooKeeper: which znodes there are, and
// what a znode's name and bytes say about an instance. It is a description and a pure
// function, one file each. A [Mount] is a layout at a path. [Mount.Tree] describes the mount
// to the cache, which mirrors it; a [Registry] answers from that mirror.
//
// The package knows neither ZooKeeper nor the cache nor HTTP. It only reads: it never writes
// what other programs own.
package services
