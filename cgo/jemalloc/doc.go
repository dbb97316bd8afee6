// Package jemalloc makes jemalloc the only malloc of a Go program that links C code. It
// also reads jemalloc's statistics ([ReadStats]) and gives access to all other controls of
// jemalloc ([Read], [Write], [Call] and their string forms).
//
// Importing the package is enough to link jemalloc. Then malloc, calloc, strdup, C.CString
// and all C libraries of the process allocate from jemalloc. The Go heap does not use
// malloc, so it stays as it is. Profiling is compiled in and on. conf.c has the options
// and the reasons for them. The environment variable MALLOC_CONF overrides each option
// when the program starts.
//
// Call [Check] first in main. It returns an error if the linked jemalloc is not the malloc
// of the process, is too old, or was built without profiling. Without the call such a
// program runs, and its profiles are empty.
//
// The package can be used by any Go program. It does not read heap profiles: package
// heapprof, which is pure Go, does. It does not serve HTTP: package pprof does.
//
// # Heap profiles
//
// [Dump] writes a profile, [SetActive] switches sampling on and off. jemalloc's options
// prof_leak and prof_final write reports at the end of a program, but do not work in a Go
// program. [ExitReport] writes these reports instead.
//
// Stacks have C and Go frames: from malloc through the C library and the Go function that
// called it to runtime.goexit or runtime.main. They include callbacks from C to Go, and
// are complete on goroutines and on threads made by C. jemalloc itself would end each stack
// at runtime.asmcgocall. walk.c describes how it is done. It depends on where Go's runtime
// keeps its stacks, which differs between Go versions. So it is read, when the program
// starts, from the machine code of the program's own runtime (goimage.c, landmarks_amd64.c).
// That takes less than a millisecond and needs no symbol table. If the runtime has
// instructions that are unknown here, stacks have C frames only, and [Unwinder] returns that
// and the reason. Programs should log what Unwinder returns. When a stack is taken, each
// crossing from C to Go is checked before it is followed. A stack has at most 128 frames, which
// is compiled into jemalloc 5.3. The outermost frames of a deeper stack are lost.
//
// [Libraries] lists the libraries on these stacks that the running program has loaded, such
// as plugins. The program may close such a library before a profile is taken. The memory
// map of the profile then does not have the library.
//
// On amd64 that is tested with Go 1.26. The code that is read is known in Go 1.20 to 1.26. On
// arm64 the tests of stacks, including the stress test, passed under emulation (qemu-user).
// They were never run on an arm64 machine. On other processors stacks have C frames only.
//
// Statically linked programs work as well, with glibc's -static and -static-pie: go
// build -ldflags '-linkmode=external -extldflags=-static'. The few KiB that glibc allocates
// while it starts have no stack there, see early.c. musl was not tried. Go's internal
// linker (-linkmode=internal) cannot link this package.
//
// In a C program that links Go code (-buildmode=c-archive or c-shared) stacks have the frames
// of that Go code. The program needs the flags of link.go too. It has to take the whole of an
// archive (-Wl,--whole-archive), because no other code refers to the options in conf.c. With
// a shared library the program has to link jemalloc before libc. A plugin
// (-buildmode=plugin) has a runtime of its own for its calls of C. Stacks of these end where
// the plugin calls C.
//
// Under go build -asan the address sanitizer has to be the malloc of the process. So
// jemalloc is not linked then, and the functions that call it return [ErrNotLinked].
//
// All functions may be called from any goroutine at any time. Controls whose name begins
// with "thread." are those of the operating system thread that makes the call. Use them
// between runtime.LockOSThread and runtime.UnlockOSThread.
//
// # Beside packages that bring a jemalloc
//
// Some Go packages call jemalloc by names with the prefix je_: under -tags jemalloc
// ristretto's package z, and so badger. They share the jemalloc of this package, which has
// no prefix, if three conditions are met:
//
//   - CGO_CFLAGS has -DJEMALLOC_NO_DEMANGLE (build/env.sh sets it). jemalloc.h then
//     has both names of each function.
//   - CGO_LDFLAGS has -L with the folder of the jemalloc without a prefix, as in
//     build/env.sh. The linker takes -ljemalloc from the first folder that has one, and
//     ristretto's flags have the folder /usr/local/lib.
//   - ristretto's flags also have the file /usr/local/lib/libjemalloc.a, which must exist.
//     Put links to the same jemalloc there: ln -s .native/release/lib/libjemalloc*.a, with
//     absolute paths. If a jemalloc with a prefix is there, it is not used. But then a
//     program that links C++ code does not link ("multiple definition").
//
// If mallctl is an undefined reference, the linker has found a jemalloc with a prefix.
package jemalloc
