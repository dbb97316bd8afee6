package leaktest

// #cgo CFLAGS: -g
// #include "leaktest.h"
import "C"

// Block is memory that was leaked.
type Block struct{ head *C.struct_leaktest_record }

// Leak allocates n records of size bytes and writes to all of them. The stack is
// leaktest_new_record < leaktest_leak < ... < leaktest.Leak.
//
//go:noinline
func Leak(n, size int) Block {
	return Block{C.leaktest_leak(C.size_t(n), C.size_t(size))}
}

// Untouched allocates n bytes that are never written.
//
//go:noinline
func Untouched(n int) Block { return Block{C.leaktest_untouched(C.size_t(n))} }

// Free frees what was leaked.
func (b Block) Free() { C.leaktest_free(b.head) }
