package stitchtest

// #include <stdlib.h>
// #include "stitchtest.h"
import "C"

import (
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"
)

// Step is a part of a stack: Go frames, then C frames that the innermost of them
// calls.
type Step struct{ Go, C uint8 }

// Plan is a stack, outermost step first. The innermost C function allocates.
type Plan struct {
	OnThread bool // on a thread made by C, else on a goroutine
	Steps    []Step
}

// Down and Up stand for the runtime's own frames where Go calls C and C calls Go.
const (
	Down = "(Go calls C)"
	Up   = "(C calls Go)"
)

// Names is the stack that the plan makes, outermost first: the functions of this
// package, the crossings, and the goroutine's first function.
func (p Plan) Names() []string {
	var names []string
	if p.OnThread {
		names = append(names, "st_thread_main", "st_hop", "st_down")
	} else {
		names = append(names, "runtime.goexit", "run")
	}
	for i, step := range p.Steps {
		if i > 0 || p.OnThread {
			names = append(names, Up, "back")
		}
		for range step.Go + 1 {
			names = append(names, "descend")
		}
		names = append(names, "_Cfunc_st_hop", Down, "st_hop")
		for range step.C + 1 {
			names = append(names, "st_down")
		}
	}
	return append(names, "st_leaf")
}

// Run makes the plan's stack and allocates n bytes there, on a new goroutine. A
// new one has a small stack, which the plan's first callback moves.
func (p Plan) Run(n int) {
	done := make(chan struct{})
	go run(p, n, done)
	<-done
}

//go:noinline
func run(p Plan, n int, done chan<- struct{}) {
	steps := p.inC()
	if p.OnThread {
		if C.st_thread(steps, C.size_t(n)) != 0 {
			panic("no thread can be made")
		}
	} else {
		descend(steps, n)
	}
	C.free(unsafe.Pointer(steps))
	close(done)
}

// inC is the plan as C passes it on: pairs of bytes, and 255 at the end.
func (p Plan) inC() *C.uint8_t {
	m := C.calloc(C.size_t(2*len(p.Steps)+1), 1)
	b := unsafe.Slice((*byte)(m), 2*len(p.Steps)+1)
	for i, step := range p.Steps {
		b[2*i], b[2*i+1] = step.Go, step.C
	}
	b[2*len(p.Steps)] = end
	return (*C.uint8_t)(m)
}

const end = 255

var moved atomic.Int64

// Moves is how often a callback found its goroutine's stack moved by its own
// growth, while C frames and outer Go frames were on the stack.
func Moves() int64 { return moved.Load() }

// back is Go called by C. The stack it runs on moves first.
//
//go:noinline
func back(rest *byte, n int) {
	var here byte
	before := uintptr(unsafe.Pointer(&here))
	grow(48)
	if uintptr(unsafe.Pointer(&here)) != before {
		moved.Add(1)
	}
	descend((*C.uint8_t)(unsafe.Pointer(rest)), n)
	here++
}

// descend goes down the Go frames of the first step, then calls C.
//
//go:noinline
func descend(steps *C.uint8_t, n int) {
	step := unsafe.Slice((*byte)(unsafe.Pointer(steps)), 3)
	if step[0] > 0 {
		step[0]--
		descend(steps, n)
		step[0]++
		return
	}
	rest := (*C.uint8_t)(unsafe.Add(unsafe.Pointer(steps), 2))
	if step[2] == end {
		rest = nil
	}
	C.st_hop(C.int(step[1]), rest, C.size_t(n))
	runtime.KeepAlive(step)
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

// Entries allocates n bytes by each of malloc, calloc, realloc (of a block and of
// none), aligned_alloc and posix_memalign, in st_entries. It gives how many
// allocations that takes.
func Entries(n int) int {
	if C.st_entries(C.size_t(n)) != 0 {
		panic("no memory")
	}
	return C.ST_ENTRIES + 1 // the block that grows
}

// Signal allocates n bytes in the handler of a signal that interrupts the first
// instruction of st_trap, which st_signal calls. It reports whether it can.
func Signal(n int) bool { return C.st_signal(C.size_t(n)) != 0 }

// Many allocates n bytes and frees them, count times, below depth frames of Go. It
// gives the processor time which that took.
func Many(depth, n, count int) time.Duration {
	if depth > 0 {
		d := Many(depth-1, n, count)
		runtime.KeepAlive(depth)
		return d
	}
	return time.Duration(C.st_many(C.size_t(n), C.size_t(count)))
}
