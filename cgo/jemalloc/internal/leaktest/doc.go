// Package leaktest leaks C memory in a C function of a known name, called by a Go
// function of a known name, for the tests of package pprof (which, being tests,
// may not use cgo themselves). What was leaked can be freed again. It also
// makes a machine busy, with threads that are C's own.
package leaktest
