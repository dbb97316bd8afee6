package heapprof

import (
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// Frame is one function on a stack. An address has several where the compiler
// inlined calls.
type Frame struct {
	Function string // never empty; "lib.so+0x1234" if Unnamed
	File     string // empty if unknown
	Line     int    // 0 if unknown
	// Symbol is the linker's name of a C++ or Rust function, of which Function is
	// what people can read; empty where the two are the same.
	Symbol string
	// Unnamed: no symbol covers the address, and Function says only where it is.
	Unnamed bool
}

// readable replaces a name that was mangled by one without the types of its
// parameters, as go tool pprof shows it.
func (f *Frame) readable() {
	if !strings.HasPrefix(f.Function, "_Z") && !strings.HasPrefix(f.Function, "_R") {
		return
	}
	const longest = 10 // as a power of two: names can be made that are larger than memory
	name := demangle.Filter(f.Function, demangle.NoParams, demangle.NoEnclosingParams, demangle.NoTemplateParams, demangle.MaxLength(longest))
	if name != f.Function {
		f.Function, f.Symbol = name, f.Function
	}
}

// Symbols are the names of a dump's addresses.
type Symbols struct {
	// Notes say, in the order of the files, what could not be read and why:
	// one sentence each, for people.
	Notes []string

	// DebugRead is how many files' debug information was read for this. Each leaves
	// about as much garbage in Go's heap as the file has code, some MB.
	DebugRead int

	buildIDs  map[objectKey]string
	frames    map[uint64][]Frame
	allocator map[uint64]bool    // addresses in jemalloc's code, true; and in what that called, false
	closed    map[uint64]*Loaded // the libraries of addresses that are mapped no longer, or ambiguous
	goText    span               // this process's Go code, where Go's own names were asked for
}

func newSymbols(addresses int) *Symbols {
	return &Symbols{
		buildIDs:  make(map[objectKey]string),
		frames:    make(map[uint64][]Frame, addresses),
		allocator: make(map[uint64]bool),
		closed:    make(map[uint64]*Loaded),
	}
}

// BuildID returns the GNU build-id, in hex, of a mapped file, or "".
func (s *Symbols) BuildID(m *Mapping) string {
	if s == nil {
		return ""
	}
	return s.buildIDs[keyOf(m)]
}

// Frames returns the frames of a return address of the dump, the innermost
// inlined call first; nil for an address that was not asked for. The result
// is shared: do not change it.
func (s *Symbols) Frames(pc uint64) []Frame {
	if s == nil {
		return nil
	}
	return s.frames[pc]
}

// Stack returns the frames of a whole stack, the innermost first.
func (s *Symbols) Stack(pcs []uint64) []Frame {
	var frames []Frame
	for _, pc := range pcs {
		frames = append(frames, s.Frames(pc)...)
	}
	return frames
}

// Callers is Stack without what malloc and its like called. An address without a
// name is written as a number.
func (s *Symbols) Callers(pcs []uint64) []Frame {
	var callers []Frame
	for _, pc := range pcs[s.entry(pcs):] {
		frames := s.shown(pc)
		if len(frames) == 0 {
			frames = []Frame{{Function: offsetName("", pc-1), Unnamed: true}}
		}
		callers = append(callers, frames...)
	}
	return callers
}
