package leaktest

// #cgo CFLAGS: -g
// #cgo LDFLAGS: -ldl
// #include <stdlib.h>
// #include "leaktest.h"
import "C"

import (
	"errors"
	"unsafe"
)

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

// Library is a library that was opened (dlopen).
type Library struct{ handle unsafe.Pointer }

// Open opens a library.
func Open(path string) (Library, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var failed *C.char
	handle := C.leaktest_open(name, &failed)
	if handle == nil {
		return Library{}, errors.New(C.GoString(failed))
	}
	return Library{handle}, nil
}

// Leak has a function of the library, void *function(size_t), allocate a block of
// size bytes.
//
//go:noinline
func (l Library) Leak(function string, size int) (block unsafe.Pointer, err error) {
	name := C.CString(function)
	defer C.free(unsafe.Pointer(name))
	var failed *C.char
	if block = C.leaktest_call(l.handle, name, C.size_t(size), &failed); block == nil {
		return nil, errors.New(C.GoString(failed))
	}
	return block, nil
}

// Close closes the library, and frees nothing that it allocated.
func (l Library) Close() { C.leaktest_close(l.handle) }

// FreeBlock frees what Leak allocated.
func FreeBlock(block unsafe.Pointer) { C.free(block) }
