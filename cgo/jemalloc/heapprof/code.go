package heapprof

import (
	"hash/fnv"
	"slices"
)

// Code describes the function of a return address for the grouping of stacks: the
// compiled function, not those that were inlined into it.
type Code struct {
	// ID is the same for all addresses of a function. So two stacks that go through
	// different lines of the same functions have the same IDs.
	ID   uint64
	Kind Kind
	// Unnamed says that the function's name is not known. Each of its addresses then has an
	// ID of its own.
	Unnamed bool
	// Part says that the code is a part that was split off a function, or a wrapper of a
	// function. It has the same ID as the function.
	Part bool
}

// Kind says to which part of the program a function belongs.
type Kind uint8

// The kinds.
const (
	CCode         Kind = iota // C or another compiled language, or not known
	AllocatorCode             // allocation functions such as malloc, and the functions that they call
	CrossingCode              // functions of Go's runtime between Go and C
	GoCode
)

// Code describes the function of a return address. isGo says whether the address is in Go
// code. A RankerConfig.Code can use this method.
func (s *Symbols) Code(pc uint64, isGo bool) Code {
	frames := s.Frames(pc)
	if len(frames) == 0 {
		return Code{ID: pc, Unnamed: true}
	}
	compiled := frames[len(frames)-1]
	hash := fnv.New64a()
	hash.Write([]byte(compiled.Function + "\x00"))
	if !isGo { // names of Go functions are unique, and wrappers have no file
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

// place has the indexes of the addresses at which the parts of a stack begin.
//
//	0        inner           entry
//	malloc.. strdup  foo ... _cgo_..._Cfunc_bar │ runtime.asmcgocall ... main.handler ... runtime.goexit
//	└ allocator ┘└──────── C part ─────────────┘└──────────────────── Go part ─────────────────────────┘
//
// C code further out, which called back into Go, and the Go code that called it belong to
// the Go part.
type place struct {
	inner int // the first address outside of the allocator
	entry int // the outermost C function before Go, which cgo has made; -1: there is no Go on the stack
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

// threadFrames is the number of frames at the outer end of a stack without Go that all
// threads have: start_thread and clone3, or the frames outside of main.
const threadFrames = 2
