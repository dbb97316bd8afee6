package heapprof

import (
	"reflect"
	"regexp"
	"runtime"
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// Frame is one function on a stack. An address has several where the compiler
// inlined calls.
type Frame struct {
	Function string // never empty; "lib.so+0x1234" where no symbol covers the address
	File     string // empty if unknown
	Line     int    // 0 if unknown
	// Symbol is the linker's name of a C++ or Rust function, of which Function is
	// what people can read; empty where the two are the same.
	Symbol string
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
	// BuildIDs are the GNU build-ids, in hex, of the mapped files by path.
	BuildIDs map[string]string

	// Notes say, in the order of the files, what could not be read and why:
	// one sentence each, for people.
	Notes []string

	// DebugRead is how many files' debug information was read for this. Each leaves
	// about as much garbage in Go's heap as the file has code, some MB.
	DebugRead int

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

// Callers is Stack without what DropFrames matches and what that called. An address
// without a name is written as a number.
func (s *Symbols) Callers(pcs []uint64) []Frame {
	var callers []Frame
	for _, pc := range pcs {
		frames := s.Frames(pc)
		if len(frames) == 0 {
			frames = []Frame{{Function: offsetName("", pc-1)}}
		}
		for _, f := range frames {
			if dropFrames.MatchString(f.Function) {
				callers = nil
				continue
			}
			callers = append(callers, f)
		}
	}
	return callers
}

var dropFrames = regexp.MustCompile(`^(` + DropFrames + `)$`)

// allocator matches the functions that programs call to allocate, and those
// below them.
var allocator = regexp.MustCompile(`^(` + DropFrames + `|(je_)?(malloc|calloc|realloc|memalign|aligned_alloc|posix_memalign|valloc|pvalloc|` +
	`mallocx|rallocx|xallocx)(_default)?|operator new(\[\])?)$`)

// Allocator reports whether a return address lies in the allocator: malloc and
// its like, and what they call. It is a RankerConfig.Allocator.
func (s *Symbols) Allocator(pc uint64) bool {
	frames := s.Frames(pc)
	return len(frames) > 0 && frames[len(frames)-1].Allocator()
}

// Allocator reports whether a function is malloc or its like, or one that they call.
func (f Frame) Allocator() bool { return allocator.MatchString(f.Function) }

// GoFrames names a return address in the Go code of this very process, the
// functions inlined there included, and gives nil for any other. It is right in a
// stripped binary too, where reading the symbol table from the file is not. It is
// the SymbolizerConfig.Go for dumps that the process took of itself.
func GoFrames(pc uint64) []Frame {
	after := uintptr(pc)
	f := runtime.FuncForPC(after - 1)
	if f == nil {
		return nil
	}
	// CallersFrames takes the address after the call and looks for its function
	// there. After a call that ends a function that is the next function.
	if next := runtime.FuncForPC(after); next == nil || next.Entry() != f.Entry() {
		after--
	}
	var frames []Frame
	// It leaves out the functions around an inlined one, unless another address
	// follows that is not theirs.
	iter := runtime.CallersFrames([]uintptr{after, last})
	for {
		f, more := iter.Next()
		if !more {
			return frames
		}
		if f.Function != "" { // the runtime does not know the name of its first function
			frames = append(frames, Frame{Function: f.Function, File: f.File, Line: f.Line})
		}
	}
}

// last is an address in a Go function that is inlined nowhere and inlines nothing.
// Zero would do as well, but for a program that has named C code by
// runtime.SetCgoTraceback: it would be asked each time what is there.
var last = reflect.ValueOf(lastFunction).Pointer() + 1

//go:noinline
func lastFunction() {}
