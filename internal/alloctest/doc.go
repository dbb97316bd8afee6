// Package alloctest counts, in tests, what a function allocates.
//
// The race detector makes [sync.Pool] drop every fourth value at random, and other goroutines
// allocate when they like. [testing.AllocsPerRun] averages over both, so its result is random
// when tests run under the race detector, as all of magellan's do.
package alloctest
