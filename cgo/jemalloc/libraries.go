package jemalloc

// #include "libraries.h"
import "C"

import (
	"encoding/hex"
	"path/filepath"
	"sync"
)

// Library is the code of a library that was loaded after the program's start and was
// on a sampled stack. The program may have closed the library since, and another one
// may have its addresses now. [Libraries] lists them.
type Library struct {
	Start, Limit uint64 // addresses [Start, Limit), as they were in the memory map
	Offset       uint64 // of Start in the file
	File         string // the library's path when it was first listed; the path may have another file now
	BuildID      string // GNU build-id in hex; empty if it has none
	Headers      uint64 // if there is no build-id: a hash of the ELF headers, which differs between builds
	// PCs are the return addresses in the library that were on sampled stacks. All is
	// false if there were more.
	PCs []uint64
	All bool
}

// Libraries lists the libraries that were on sampled stacks and that the program can
// close, in the order in which they were first seen. At most 128 are recorded; more
// reports whether there were others. A library with two executable segments is listed
// twice. The list is empty if the [Unwinder] is the stock one, or if the C library
// cannot find the library of an address without a lock. glibc 2.35 and later can.
func Libraries() (all []Library, more bool) {
	var library C.struct_gojemalloc_library
	var pcs [C.GOJEMALLOC_LIBRARY_PCS]C.uintptr_t
	for i := range C.gojemalloc_libraries_len() {
		var full C.bool
		n := C.gojemalloc_libraries_get(i, &library, &pcs[0], &full)
		l := Library{
			Start: uint64(library.start), Limit: uint64(library.limit), Offset: uint64(library.offset),
			File: files.path(i, C.GoString(&library.path[0])), Headers: uint64(library.headers), All: !bool(full),
		}
		if l.File == "" {
			continue
		}
		id := make([]byte, library.build_id_len)
		for j := range id {
			id[j] = byte(library.build_id[j])
		}
		l.BuildID = hex.EncodeToString(id)
		for _, pc := range pcs[:n] {
			l.PCs = append(l.PCs, uint64(pc))
		}
		all = append(all, l)
	}
	return all, bool(C.gojemalloc_libraries_more())
}

// files has the path of each library as it was when the library was first listed. A
// symbolic link may lead to another file later.
var files filePaths

type filePaths struct {
	mu    sync.Mutex
	paths [C.GOJEMALLOC_LIBRARIES]string
}

// path returns the path of the i-th library. opened is its path in the dynamic linker.
func (f *filePaths) path(i C.uint, opened string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.paths[i] == "" {
		f.paths[i] = filePath(opened)
	}
	return f.paths[i]
}

// filePath returns a path in the form of the memory map: absolute, without symbolic links.
func filePath(path string) string {
	if path == "" {
		return ""
	}
	if whole, err := filepath.Abs(path); err == nil {
		path = whole
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path
}
