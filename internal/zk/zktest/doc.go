// Package zktest starts real ZooKeeper servers, from the jars of the
// distribution's package, and does to them what happens to servers: it stops,
// kills, pauses and restarts them, loses their data, cuts members of an ensemble off
// and expires sessions.
//
// Tests use [Start] and [StartEnsemble], which end with the test and show the
// server's log if it fails. Programs use [New]. No server outlives the process
// that started it, however that ends.
//
// Each server gets a loopback address of its own, 127.x.y.z, so that its port
// can be known before it starts and nobody else's. The package does not use
// internal/zk: it speaks the little of the protocol it needs by itself.
package zktest
