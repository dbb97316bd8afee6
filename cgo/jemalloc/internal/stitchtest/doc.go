// Package stitchtest allocates C memory from stacks that are known exactly: Go and
// C in turns, each to a given depth, on goroutines and on threads made by C, while
// goroutine stacks grow and move. It also names the functions of such a stack in
// any build of a program, stripped ones included. It serves the tests of package
// jemalloc, which, being tests, may not use cgo themselves.
package stitchtest
