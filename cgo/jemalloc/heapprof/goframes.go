package heapprof

import (
	"reflect"
	"runtime"
	"sort"
	"sync"
)

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

// GoText is where the Go code of this very process is: addresses from start on, and
// before end. It is the SymbolizerConfig.GoText that belongs to GoFrames.
func GoText() (start, end uint64) {
	text := goText()
	return text.start, text.end
}

// goText asks the runtime, which does not tell, but knows of each address whether it is
// Go code.
var goText = sync.OnceValue(func() span {
	reach := func(sign int64) uint64 {
		is := func(distance uint64) bool {
			return runtime.FuncForPC(uintptr(int64(last)+sign*int64(distance))) != nil
		}
		far := uint64(1)
		for is(far) {
			far *= 2
		}
		return uint64(sort.Search(int(far), func(distance int) bool { return !is(uint64(distance)) }))
	}
	return span{uint64(last) + 1 - reach(-1), uint64(last) + reach(+1)}
})
