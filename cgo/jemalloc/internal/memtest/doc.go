// Package memtest allocates C memory by each of the routes that a Go program
// with libzookeeper has, for the tests of package jemalloc (which, being tests,
// may not use cgo themselves). Each function gives the block and how to free it.
package memtest
