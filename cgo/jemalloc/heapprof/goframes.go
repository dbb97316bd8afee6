package heapprof

import (
	"reflect"
	"runtime"
	"sort"
	"sync"
)

// GoFrames returns the frames of a return address in this process's own Go code, including
// inlined functions. It returns nil for all other addresses. It works in a stripped binary
// too, in which the file has no symbol table. It is the SymbolizerConfig.Go for dumps that
// the process has taken of itself.
func GoFrames(pc uint64) []Frame {
	after := uintptr(pc)
	f := runtime.FuncForPC(after - 1)
	if f == nil {
		return nil
	}
	// CallersFrames looks up the function at the address after the call. If the call is at
	// the end of its function, that is the next function, so the address is lowered.
	if next := runtime.FuncForPC(after); next == nil || next.Entry() != f.Entry() {
		after--
	}
	var frames []Frame
	// CallersFrames leaves out the functions that contain an inlined one, unless another
	// address of another function follows.
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

// last is an address in a Go function that is not inlined and inlines nothing. It is not
// zero, because the runtime would pass zero to the function that a program may have set by
// runtime.SetCgoTraceback to name C code.
var last = reflect.ValueOf(lastFunction).Pointer() + 1

//go:noinline
func lastFunction() {}

// GoText returns the range of addresses of this process's own Go code, without end. It is
// the SymbolizerConfig.GoText to use with GoFrames.
func GoText() (start, end uint64) {
	text := goText()
	return text.start, text.end
}

// goText finds the range by binary search, because the runtime does not export it, but
// reports for each address whether it is in Go code.
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
