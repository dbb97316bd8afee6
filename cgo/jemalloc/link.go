package jemalloc

// The header is checked when compiling (shim.h) and the library when starting
// (Check): with a shared library they need not be the same version.

// #cgo !asan LDFLAGS: -ljemalloc
import "C"

// minVersion is the oldest jemalloc that will do: experimental.hooks.prof_backtrace
// and prof_sys_thread_name begin there.
const minVersion = "5.3.0"
