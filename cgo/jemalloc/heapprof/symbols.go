package heapprof

import (
	"regexp"
	"runtime"
)

// Frame is one function on a stack. An address has several where the compiler
// inlined calls.
type Frame struct {
	Function string // never empty; "lib.so+0x1234" where no symbol covers the address
	File     string // empty if unknown
	Line     int    // 0 if unknown
}

// Symbols are the names of a dump's addresses.
type Symbols struct {
	// BuildIDs are the GNU build-ids, in hex, of the mapped files by path.
	BuildIDs map[string]string

	// Notes say, in the order of the files, what could not be read and why:
	// one sentence each, for people.
	Notes []string

	frames map[uint64][]Frame
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

// allocator matches the functions that programs call to allocate, and those
// below them.
var allocator = regexp.MustCompile(`^(` + DropFrames + `|(je_)?(malloc|calloc|realloc|memalign|aligned_alloc|posix_memalign|valloc|pvalloc|` +
	`mallocx|rallocx|xallocx)(_default)?|_Zn[wa].*)$`)

// Allocator reports whether a return address lies in the allocator: malloc and
// its like, and what they call. It is a RankerConfig.Allocator.
func (s *Symbols) Allocator(pc uint64) bool {
	frames := s.Frames(pc)
	return len(frames) > 0 && allocator.MatchString(frames[len(frames)-1].Function)
}

// GoFrames names a return address in the Go code of this very process, and
// gives nil for any other. It is right in a stripped binary too, where
// reading the symbol table from the file is not. It is the SymbolizerConfig.Go
// for dumps that the process took of itself.
func GoFrames(pc uint64) []Frame {
	if runtime.FuncForPC(uintptr(pc)-1) == nil {
		return nil
	}
	var frames []Frame
	iter := runtime.CallersFrames([]uintptr{uintptr(pc)})
	for {
		f, more := iter.Next()
		if f.Function != "" {
			frames = append(frames, Frame{Function: f.Function, File: f.File, Line: f.Line})
		}
		if !more {
			return frames
		}
	}
}
