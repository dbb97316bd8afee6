package jemalloc

// #include "hook.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
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
func init() {
	if err := profiling(); err != nil {
		unwinder.kind, unwinder.reason = UnwinderNone, err.Error()
		return
	}
	here, _, _, _ := runtime.Caller(0)
	install(here)
}

// Unwinder returns which stacks heap profiles have and, for each kind but UnwinderCGo,
// the reason why they have no Go frames. Both are determined when the process starts and
// do not change. Programs should report them in a log line, a metric or a comment of
// the profile.
func Unwinder() (kind UnwinderKind, reason string) {
	return unwinder.kind, unwinder.reason
}

// install reads how the Go program that has the code at pc keeps its stacks, and sets the
// best hook that is safe.
func install(pc uintptr) {
	image, err := findProgram(pc)
	if err != nil {
		setHook(nil, nil, err)
		return
	}
	landmarks, err := readLandmarks(&image)
	if err != nil {
		setHook(&image, nil, err)
		return
	}
	setHook(&image, &landmarks, nil)
}

// setHook makes jemalloc call the hook. Landmarks are nil if they could not be read, for the
// reason why, and image is nil if no Go program was found.
func setHook(image *C.struct_goimage, landmarks *C.struct_landmarks, why error) {
	unwinder.kind, unwinder.reason = UnwinderCGo, ""
	if why != nil {
		unwinder.kind, unwinder.reason = UnwinderC, fmt.Sprintf("stacks end where Go begins: %v (%s, %s)", why, runtime.Version(), runtime.GOARCH)
	}
	if err := result("write", "experimental.hooks.prof_backtrace", C.gojemalloc_hook_install(image, landmarks, &unwinder.stock)); err != nil {
		unwinder.kind, unwinder.reason = UnwinderStock, err.Error()
	}
}

// findProgram finds the Go program or library that has the code at pc (goimage_find).
func findProgram(pc uintptr) (image C.struct_goimage, err error) {
	var why *C.char
	if !C.goimage_find(&image, C.uintptr_t(pc), &why) {
		err = errors.New(C.GoString(why))
	}
	return image, err
}

// readLandmarks reads where the runtime of a Go program keeps its stacks (landmarks_read).
func readLandmarks(image *C.struct_goimage) (landmarks C.struct_landmarks, err error) {
	if why := C.landmarks_read(image, &landmarks); why != nil {
		err = errors.New(C.GoString(why))
	}
	return landmarks, err
}

// replaceHook makes jemalloc use another unwinder. nil stands for the hook.
func replaceHook(unwinder unsafe.Pointer) error {
	return result("write", "experimental.hooks.prof_backtrace", C.gojemalloc_hook_replace(unwinder))
}

// walks counts the stacks that the hook has taken.
type walks struct {
	whole  uint64 // to the start of the goroutine or of C's thread
	cut    uint64 // the outermost frames are missing
	broken uint64 // something on the stack was not as the landmarks have it
}

func countWalks() (w walks) {
	var ends [C.GOWALK_ENDS]C.uint64_t
	C.gojemalloc_hook_ends(&ends[0])
	for end, n := range ends {
		switch {
		case end == C.GOWALK_WHOLE || end == C.GOWALK_RUNTIME:
			w.whole += uint64(n)
		case end < C.GOWALK_SLOTS:
			w.cut += uint64(n)
		default:
			w.broken += uint64(n)
		}
	}
	return w
}
