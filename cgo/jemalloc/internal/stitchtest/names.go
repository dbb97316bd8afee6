package stitchtest

// #include "stitchtest.h"
import "C"

import (
	"runtime"
	"slices"
	"strings"
)

// Names names a stack's functions, given as return addresses, innermost first: all
// that are Go, this package's C functions, and those that a library exports; "?"
// for other C code. Functions that were inlined have no frame and are not named.
func Names(pcs []uintptr) []string {
	names := make([]string, len(pcs))
	for i, pc := range pcs {
		names[i] = name(pc - 1)
	}
	return names
}

func name(pc uintptr) string {
	if f := runtime.FuncForPC(pc); f != nil {
		name := runtime.FuncForPC(f.Entry()).Name()
		if strings.HasPrefix(name, "_cgoexp_") { // _cgoexp_HASH_stBack
			return "_cgoexp_stBack"
		}
		return name[strings.LastIndex(name, "/")+1:]
	}
	var start, end C.uintptr_t
	for i := C.int(0); ; i++ {
		name := C.st_function(i, &start, &end)
		if name == nil {
			break
		}
		if C.uintptr_t(pc) >= start && C.uintptr_t(pc) < end {
			return C.GoString(name)
		}
	}
	if name := C.st_library_function(C.uintptr_t(pc)); name != nil {
		return C.GoString(name)
	}
	return "?"
}

// Known keeps of a stack's names what Plan.Names has, outermost first. It is empty
// for a stack that is not of a plan's innermost allocation.
func Known(names []string) []string {
	if !slices.Contains(names, "st_leaf") {
		return nil
	}
	var known []string
	for i := len(names) - 1; i >= 0; i-- {
		name := names[i]
		own, isGo := strings.CutPrefix(name, "stitchtest.")
		switch {
		case name == "runtime.cgocallback":
			known = append(known, Up)
		case name == "runtime.asmcgocall" && (len(known) == 0 || known[len(known)-1] != Down):
			known = append(known, Down)
		case name == "runtime.goexit":
			known = append(known, name)
		case name == "stitchtest.stBack", strings.Contains(name, ".gowrap"): // may be inlined
		case isGo, strings.HasPrefix(name, "st_"):
			known = append(known, own)
		}
	}
	return known
}
