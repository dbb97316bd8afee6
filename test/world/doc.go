// Package world is what tests share that run a whole magellan against a real ZooKeeper: the server,
// the magellan in this process, and the znodes that a test writes. The tests of test/services start
// programs that register services there, and those of test/readers start programs that discover
// them.
//
// Everything ends with the test. Methods fail the test in place of returning an error, so they are
// for the test's own goroutine, except for those of http.Handler.
package world
