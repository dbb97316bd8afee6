package jemalloc

// The header is checked when compiling (shim.h) and the library when starting
// (Check): with a shared library they need not be the same version.

// A static libjemalloc needs libm, and the distribution's does not say so. early.c
// says what the wrapped function is for.

// #cgo LDFLAGS: -Wl,--wrap=_Unwind_Backtrace
// #cgo !asan LDFLAGS: -ljemalloc -lm
import "C"

// minVersion is the oldest jemalloc that will do: experimental.hooks.prof_backtrace
// and prof_sys_thread_name begin there.
const minVersion = "5.3.0"
