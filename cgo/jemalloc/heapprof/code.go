package heapprof

import (
	"hash/fnv"
	"slices"
)

// Code is what grouping stacks has to know of the function that a return address
// lies in: the one that was compiled, not those that were inlined into it.
type Code struct {
	// ID is the same for all addresses of a function. Two stacks that go through
	// different lines of the same functions are two ways of one thing.
	ID   uint64
	Kind Kind
	// Unnamed: no name of the function is known, and each of its addresses has an ID of
	// its own.
	Unnamed bool
	// Part: it is a part of a function that is called by the rest of it, or a wrapper
	// around it, which has the same ID.
	Part bool
}

// Kind says whose a function is.
type Kind uint8

// The kinds.
const (
	CCode         Kind = iota // C or the like, and what nothing is known of
	AllocatorCode             // malloc and its like, and what they call
	CrossingCode              // of Go's runtime, between Go and C
	GoCode
)

// Code tells what function a return address lies in. isGo says whether it is in Go
// code. It makes a RankerConfig.Code.
func (s *Symbols) Code(pc uint64, isGo bool) Code {
	frames := s.Frames(pc)
	if len(frames) == 0 {
		return Code{ID: pc, Unnamed: true}
	}
	compiled := frames[len(frames)-1]
	hash := fnv.New64a()
	hash.Write([]byte(compiled.Function + "\x00"))
	if !isGo { // in Go the name is enough, and wrappers are in no file
		hash.Write([]byte(compiled.File))
	}
	code := Code{ID: hash.Sum64(), Unnamed: compiled.Unnamed, Part: compiled.isSplit() || compiled.isWrapper()}
	switch {
	case compiled.Function == "runtime.asmcgocall", compiled.Function == "runtime.cgocall":
		code.Kind = CrossingCode
	case isGo:
		code.Kind = GoCode
	case s.Allocator(pc):
		code.Kind = AllocatorCode
	}
	return code
}

// place is where the parts of a stack begin, as indexes of its addresses.
//
//	0        inner           entry
//	malloc.. strdup  foo ... _cgo_..._Cfunc_bar │ runtime.asmcgocall ... main.handler ... runtime.goexit
//	└ allocator ┘└──────── C part ─────────────┘└──────────────────── Go part ─────────────────────────┘
//
// C that was called back from Go, and Go that called that, lie in the Go part.
type place struct {
	inner int // of the first address outside of the allocator
	entry int // of the outermost C function before Go, made by cgo; -1: no Go is on the stack
}

func placeOf(kinds []Kind) place {
	p := place{entry: -1}
	for p.inner < len(kinds) && kinds[p.inner] == AllocatorCode {
		p.inner++
	}
	isGo := func(k Kind) bool { return k == GoCode || k == CrossingCode }
	if i := slices.IndexFunc(kinds[p.inner:], isGo); i >= 0 {
		p.entry = p.inner + i - 1
	}
	return p
}

// threadFrames is how many frames at the outer end of a stack without Go say no more
// than that there is a thread: start_thread and clone3, or those before main.
const threadFrames = 2
