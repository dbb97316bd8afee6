package jemalloc

// #include <stdlib.h>
// #include "stitch.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unsafe"
)

// UnwinderKind says which stacks the heap profiles of this process have.
type UnwinderKind string

const (
	// UnwinderNone: no stacks, because profiling is off or jemalloc is not linked.
	UnwinderNone UnwinderKind = "none"
	// UnwinderStock: C frames only, by the unwinder that jemalloc was built with,
	// because jemalloc did not accept the hook.
	UnwinderStock UnwinderKind = "stock"
	// UnwinderC: C frames only, by the hook. If Go called C, the stack ends at
	// runtime.asmcgocall.
	UnwinderC UnwinderKind = "c"
	// UnwinderCGo: C and Go frames, through any number of calls and callbacks.
	UnwinderCGo UnwinderKind = "c+go"
)

// unwinder is the result of init. It does not change afterwards.
var unwinder struct {
	kind   UnwinderKind
	reason string
	stock  unsafe.Pointer // jemalloc's own
}

// The hook is installed as early as Go code can run: before main, and before
// the init functions of the packages that import this one.
func init() { install(goLayout()) }

// Unwinder returns which stacks heap profiles have and, for each kind but UnwinderCGo,
// the reason why they have no Go frames. Both are determined when the process starts and
// do not change. Programs should report them in a log line, a metric or a comment of
// the profile.
func Unwinder() (kind UnwinderKind, reason string) {
	return unwinder.kind, unwinder.reason
}

// goLayout returns where Go's runtime is expected to keep its stacks on this processor.
func goLayout() (layout C.struct_gojemalloc_layout, known bool) {
	known = bool(C.gojemalloc_layout_default(&layout))
	return layout, known
}

// install tests the layout and sets the best hook that is safe.
func install(layout C.struct_gojemalloc_layout, known bool) {
	if err := profiling(); err != nil {
		unwinder.kind, unwinder.reason = UnwinderNone, err.Error()
		return
	}
	var landmarks C.struct_gojemalloc_landmarks
	err := errors.New("no unwinder for Go is written for " + runtime.GOARCH)
	if known {
		landmarks, err = learn(&layout)
	}
	unwinder.kind, unwinder.reason = UnwinderCGo, ""
	if err != nil {
		landmarks = C.struct_gojemalloc_landmarks{}
		unwinder.kind, unwinder.reason = UnwinderC, fmt.Sprintf("stacks end where Go begins: %v", err)
	}
	var stock unsafe.Pointer
	if err := result("write", "experimental.hooks.prof_backtrace", C.gojemalloc_hook_install(&layout, &landmarks, &stock)); err != nil {
		unwinder.kind, unwinder.reason = UnwinderStock, err.Error()
	}
	unwinder.stock = stock
}

// probing is what gojemallocProbe calls. It is set only while learn runs.
var probing func()

// learn is the self-test. A new goroutine calls C. C calls Go, which makes the goroutine's
// stack move and calls C again. There the stack is taken twice: first with loads that
// cannot crash, then as the hook takes it. Both stacks must have the same functions as
// runtime.Callers returns. If they differ, this Go version keeps its stacks in another
// way.
func learn(layout *C.struct_gojemalloc_layout) (C.struct_gojemalloc_landmarks, error) {
	var landmarks C.struct_gojemalloc_landmarks
	// It is in C's memory because it has pointers.
	probe := (*C.struct_gojemalloc_probe)(C.calloc(1, C.sizeof_struct_gojemalloc_probe))
	if probe == nil {
		return landmarks, errors.New("no memory for the self-test")
	}
	defer C.free(unsafe.Pointer(probe))
	defer func() { probing = nil }()

	entry, err := callbackEntry()
	if err != nil {
		return landmarks, err
	}
	for _, take := range []func(){
		func() { C.gojemalloc_probe_learn(layout, &landmarks, probe) },
		func() { C.gojemalloc_probe_here(layout, &landmarks, probe) },
	} {
		var want []uintptr
		probing = func() {
			grow(64)
			want = callers()
			take()
		}
		done := make(chan struct{})
		go func() {
			C.gojemalloc_probe_run(C.uintptr_t(entry))
			close(done)
		}()
		<-done

		if probe.broken != nil {
			return landmarks, unknownLayout("at %s", C.GoString(probe.broken))
		}
		got := make([]uintptr, probe.len)
		for i, pc := range probe.pcs[:probe.len] {
			got[i] = uintptr(pc)
		}
		if err := sameStack(got, want); err != nil {
			return landmarks, err
		}
		if err := checkLandmarks(landmarks); err != nil {
			return landmarks, err
		}
	}
	return landmarks, nil
}

// callbackEntry returns the Go function that cgo's C side of gojemallocProbe passes to
// crosscall2. Its name has a checksum, so it is found on the stack of a call.
func callbackEntry() (uintptr, error) {
	var pcs []uintptr
	probing = func() { pcs = callers() }
	C.gojemalloc_call_back()
	for _, pc := range pcs {
		if f := runtime.FuncForPC(pc - 1); strings.HasPrefix(compiledName(f), "_cgoexp_") {
			return f.Entry(), nil
		}
	}
	return 0, unknownLayout("to find how C calls Go")
}

// grow uses n KiB of stack. The stack of a new goroutine is smaller and has to move.
//
//go:noinline
func grow(n int) byte {
	var frame [1024]byte
	if n > 0 {
		frame[n%len(frame)] = grow(n - 1)
	}
	return frame[n%len(frame)]
}

// callers is not inlined, because sameStack expects a frame of it.
//
//go:noinline
func callers() []uintptr {
	pcs := make([]uintptr, C.GOJEMALLOC_MAX_FRAMES)
	return pcs[:runtime.Callers(1, pcs)]
}

func unknownLayout(format string, args ...any) error {
	return fmt.Errorf("%s keeps its stacks on %s in a way unknown here: the self-test failed %s",
		runtime.Version(), runtime.GOARCH, fmt.Sprintf(format, args...))
}

// sameStack compares two stacks from the goroutine's first function to the one that
// called callers (want) or C (got). Further in they differ.
func sameStack(got, want []uintptr) error {
	g, w := functions(got), functions(want)
	slices.Reverse(g)
	slices.Reverse(w)
	w = w[:max(0, len(w)-1)] // callers
	if len(w) == 0 || w[0] != "runtime.goexit" {
		return unknownLayout("to find runtime.goexit")
	}
	for i, name := range w {
		if i == len(g) {
			return unknownLayout("where %s should be and the stack ends", name)
		}
		if g[i] != name {
			return unknownLayout("where %s should be and %s is", name, g[i])
		}
	}
	return nil
}

// functions returns the names of the compiled Go functions of a stack, without those that
// were inlined. A function that calls itself is named once.
func functions(pcs []uintptr) []string {
	var names []string
	for _, pc := range pcs {
		f := runtime.FuncForPC(pc - 1)
		if f == nil {
			continue // C
		}
		switch name := compiledName(f); {
		case name == "runtime.asmcgocall", name == "runtime.systemstack_switch", name == "crosscall2":
			// Functions between the two stacks. runtime.Callers returns others.
		case len(names) > 0 && names[len(names)-1] == name:
		default:
			names = append(names, name)
		}
	}
	return names
}

// compiledName returns the name of the function whose code contains f. f itself may be
// inlined there.
func compiledName(f *runtime.Func) string { return runtime.FuncForPC(f.Entry()).Name() }

func checkLandmarks(l C.struct_gojemalloc_landmarks) error {
	for _, mark := range []struct {
		pc   C.uintptr_t
		name string
	}{
		{l.asmcgocall, "runtime.asmcgocall"},
		{l.cgocallback, "runtime.cgocallback"},
		{l.crosscall2, "crosscall2"},
	} {
		if f := runtime.FuncForPC(uintptr(mark.pc) - 1); f == nil || f.Name() != mark.name {
			return unknownLayout("to find %s", mark.name)
		}
	}
	return nil
}

// replaceHook makes jemalloc use another unwinder. nil stands for the hook.
func replaceHook(unwinder unsafe.Pointer) error {
	return result("write", "experimental.hooks.prof_backtrace", C.gojemalloc_hook_replace(unwinder))
}
