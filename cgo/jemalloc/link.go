package jemalloc

// shim.h checks the version of the header at compile time, and Check the version of the
// library at start. With a shared library the two can differ.

// A static libjemalloc needs libm, and the distribution's archive does not name it. early.c
// describes why _Unwind_Backtrace is wrapped.

// #cgo LDFLAGS: -Wl,--wrap=_Unwind_Backtrace
// #cgo !asan LDFLAGS: -ljemalloc -lm
import "C"

// minVersion is the first jemalloc with experimental.hooks.prof_backtrace and
// prof_sys_thread_name.
const minVersion = "5.3.0"
