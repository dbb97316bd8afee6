package jemalloc

// #include "libraries.h"
import "C"

import (
	"encoding/hex"
	"path/filepath"
	"sync"
)

// Library is the code of a library that was loaded after the program's start and
// was on a sampled stack. It may have been closed since, and another one may be at
// its place. [Libraries] lists them.
type Library struct {
	Start, Limit uint64 // addresses [Start, Limit), as they were in the memory map
	Offset       uint64 // of Start in the file
	File         string // its path when it was first listed; another file may be there now
	BuildID      string // GNU build-id in hex; empty if it has none
	Headers      uint64 // of one without a build-id: a hash of its ELF headers, which tells its builds apart
	// PCs are the return addresses in it that were on sampled stacks. All is false if
	// there are more.
	PCs []uint64
	All bool
}

// Libraries lists the libraries that sampled allocations were made by and that the
// program can close, in the order in which they were first seen. At most 128 are
// noted; more says whether there were others. It needs a C library that says where an
// address is without taking a lock, which glibc 2.35 does, and an [Unwinder] other than
// the stock one; elsewhere the list is empty. Their pieces are noted one by one: a
// library with two executable segments is listed twice.
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

// files has the paths of the libraries, as they were when they were first listed: later
// a symbolic link may lead to another file.
var files filePaths

type filePaths struct {
	mu    sync.Mutex
	paths [C.GOJEMALLOC_LIBRARIES]string
}

// path returns that of the i-th library, which the dynamic linker has as opened.
func (f *filePaths) path(i C.uint, opened string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.paths[i] == "" {
		f.paths[i] = filePath(opened)
	}
	return f.paths[i]
}

// filePath is a path as the memory map has it: absolute, and without symbolic links.
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
