// Package jemalloc makes jemalloc the one malloc of a Go program that links C
// code, and speaks to it: statistics ([ReadStats]) and every other control
// jemalloc has ([Read], [Write], [Call] and their string forms).
//
// Importing the package is enough to link jemalloc. From then on malloc, calloc,
// strdup, C.CString and what every C library of the process allocates come from
// jemalloc; the Go heap does not, Go keeps that itself. Profiling is compiled in
// and on (conf.c says which options and why); the environment variable
// MALLOC_CONF overrides each option when the program starts.
//
// Call [Check] first thing in main: it says in one sentence what is wrong when
// the jemalloc that was linked is not the malloc of the process, is too old, or
// was built without profiling. Without it such a program runs, and its profiles
// are empty.
//
// The package is for any Go program; it knows nothing of the one it is part of.
// It does not read heap profiles: that is package heapprof, beside it, which is
// pure Go. It does not serve HTTP: that is package pprof.
//
// # Heap profiles
//
// [Dump] writes a profile, [SetActive] switches sampling on and off. [ExitReport]
// does at the end of the program what jemalloc's prof_leak and prof_final promise,
// and cannot keep in a Go program.
//
// Stacks have C and Go frames: from malloc through the C library and the Go
// function that called it to runtime.goexit or runtime.main, through callbacks from
// C to Go, on goroutines and on threads made by C. jemalloc itself would end each at
// runtime.asmcgocall. stitch.c says how it is done. It depends on where Go's runtime
// keeps its stacks, which no version promises to the next. So that is proved when
// the program starts, in less than a millisecond, by a call from Go to C to Go to
// C; where the proof fails, stacks have C frames only, and [Unwinder] says so and
// why. Put what it says in a log line. A stack has at most 128 frames: that is
// compiled into jemalloc 5.3, and the outermost are lost.
//
// [Libraries] says which libraries were on these stacks that have been loaded by the
// running program, as plugins are: such a library may be closed before a profile is
// taken, whose memory map then says nothing of its addresses.
//
// On amd64 that is tested with Go 1.26. On arm64 it passed the same tests, stress
// included, under emulation (qemu-user) and never on such a machine. On other
// processors stacks have C frames only.
//
// Statically linked programs work as well, with glibc's -static and -static-pie: go
// build -ldflags '-linkmode=external -extldflags=-static'. What glibc allocates
// while it starts, a few KiB, has no stack there (early.c says why). musl was not
// tried. Go's internal linker (-linkmode=internal) cannot link this package, and
// whoever links a -buildmode=c-archive of it gives the flags of link.go as well.
//
// Under go build -asan the address sanitizer has to be the malloc of the
// process. jemalloc is then not linked, and everything here reports
// [ErrNotLinked].
//
// All functions may be called from any goroutine at any time. Controls whose
// name begins with "thread." speak of the operating system thread that makes
// the call: use them between runtime.LockOSThread and runtime.UnlockOSThread.
//
// # Beside packages that bring a jemalloc
//
// Some Go packages call jemalloc under names with the prefix je_: ristretto's z, and
// so badger, under -tags jemalloc. They share the jemalloc of this package, which has
// no prefix, if three things hold:
//
//   - CGO_CFLAGS has -DJEMALLOC_NO_DEMANGLE (build/env.sh sets it). jemalloc.h then
//     has both names of each function.
//   - CGO_LDFLAGS has -L and the folder of the jemalloc without a prefix, as
//     build/env.sh has it. The linker takes -ljemalloc from the first folder that has
//     one, and ristretto names /usr/local/lib.
//   - ristretto also names the file /usr/local/lib/libjemalloc.a, which has to exist.
//     Put the same jemalloc there: ln -s .native/release/lib/libjemalloc*.a, by their
//     absolute names. A jemalloc with a prefix may be there too, and is not used; but a
//     program that links C++ code does not link then ("multiple definition").
//
// If mallctl is an undefined reference, the linker has found a jemalloc with a prefix.
package jemalloc
