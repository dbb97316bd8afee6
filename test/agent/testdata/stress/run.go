package main

// #include <stdlib.h>
// #include "stress.h"
import "C"

import (
	"reflect"
	"runtime"
	"sync/atomic"
	"unsafe"
)

const stepSize = unsafe.Sizeof(step{})

// run makes the plan's stack and allocates there. It is the first function of a
// goroutine: a new one has a small stack, which the plan's first callback moves.
//
//go:noinline
func run(p plan, number int, done chan<- struct{}) {
	steps := C.calloc(C.size_t(len(p.steps)+1), C.size_t(stepSize))
	copy(unsafe.Slice((*step)(steps), len(p.steps)), p.steps)
	(*step)(unsafe.Add(steps, uintptr(len(p.steps))*stepSize)).goKind = noStep
	end := (*C.struct_st_end)(C.malloc(C.sizeof_struct_st_end))
	*end = C.struct_st_end{plan: C.uint32_t(number), leaf: C.uint32_t(p.leaf), n: C.size_t(p.size)}
	if p.keep {
		end.keep = 1
	}
	if p.onThread {
		if C.st_thread((*C.uint8_t)(steps), end) != 0 {
			panic("no thread can be made")
		}
	} else {
		descend((*step)(steps), unsafe.Pointer(end), int((*step)(steps).goDepth))
	}
	C.free(steps)
	C.free(unsafe.Pointer(end))
	close(done)
}

const noStep = 255

var moved atomic.Int64

// back is Go called by C. The stack it runs on moves first.
//
//go:noinline
func back(rest *byte, end unsafe.Pointer) {
	var here byte
	before := uintptr(unsafe.Pointer(&here))
	grow(48)
	if uintptr(unsafe.Pointer(&here)) != before {
		moved.Add(1)
	}
	s := (*step)(unsafe.Pointer(rest))
	descend(s, end, int(s.goDepth))
	here++
}

// descend goes down the Go frames of a step, then calls C in the step's way.
//
//go:noinline
func descend(s *step, end unsafe.Pointer, depth int) {
	if depth > 0 {
		descend(s, end, depth-1)
		runtime.KeepAlive(s)
		return
	}
	switch s.goKind {
	case goPlain:
		hop(s, end)
	case goInlined:
		inlinedOuter(s, end)
	case goGeneric:
		generic(s, end, depth)
	case goMethod:
		aDoer.do(s, end)
	case goClosure:
		closing(s, end)
	case goDeferred:
		deferring(s, end)
	case goPanicking:
		panicking(s, end)
	case goReflected:
		reflecting(s, end)
	default:
		panic("a plan is not passed on as it was")
	}
	runtime.KeepAlive(s)
}

func inlinedOuter(s *step, end unsafe.Pointer) { inlinedInner(s, end) }
func inlinedInner(s *step, end unsafe.Pointer) { hop(s, end) }

//go:noinline
func generic[T int | string](s *step, end unsafe.Pointer, value T) {
	hop(s, end)
	runtime.KeepAlive(value)
}

type doer interface{ do(*step, unsafe.Pointer) }

type caller struct{ calls atomic.Int64 }

var aDoer doer = &caller{}

//go:noinline
func (c *caller) do(s *step, end unsafe.Pointer) {
	hop(s, end)
	c.calls.Add(1)
}

//go:noinline
func closing(s *step, end unsafe.Pointer) {
	call(func() { hop(s, end) })
}

//go:noinline
func call(f func()) {
	f()
	runtime.KeepAlive(f)
}

//go:noinline
func deferring(s *step, end unsafe.Pointer) {
	defer func() { hop(s, end) }()
	runtime.KeepAlive(s)
}

//go:noinline
func panicking(s *step, end unsafe.Pointer) {
	defer func() {
		hop(s, end)
		recover()
	}()
	panic(s)
}

//go:noinline
func reflecting(s *step, end unsafe.Pointer) {
	reflect.ValueOf(hop).Call([]reflect.Value{reflect.ValueOf(s), reflect.ValueOf(end)})
}

//go:noinline
func hop(s *step, end unsafe.Pointer) {
	next := (*step)(unsafe.Add(unsafe.Pointer(s), stepSize))
	if next.goKind == noStep {
		next = nil
	}
	C.st_hop(C.int(s.cKind), C.int(s.cDepth), (*C.uint8_t)(unsafe.Pointer(next)), (*C.struct_st_end)(end))
	runtime.KeepAlive(s)
}

// grow takes 1 KiB of stack for each of depth frames, and garbage with it.
//
//go:noinline
func grow(depth int) byte {
	var frame [1024]byte
	if depth == 0 {
		garbage.Store(&[4096]byte{})
		return frame[0]
	}
	frame[depth] = grow(depth - 1)
	return frame[depth]
}

var garbage atomic.Pointer[[4096]byte]
