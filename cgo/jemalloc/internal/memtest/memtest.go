//go:build !asan

package memtest

// #cgo LDFLAGS: -lzookeeper_mt
// #define _GNU_SOURCE
// #include <stdio.h>
// #include <stdlib.h>
// #include <string.h>
// #include <sys/mman.h>
// #include <zookeeper/zookeeper.h>
//
// static char *libc_asprintf(size_t n) {
//	char *s = NULL;
//	return asprintf(&s, "%0*d", (int)n - 1, 7) < 0 ? NULL : s;
// }
// static struct String_vector *vector_new(int32_t n) {
//	struct String_vector *v = malloc(sizeof *v);
//	return v == NULL || allocate_String_vector(v, n) != 0 ? NULL : v;
// }
// static void vector_free(struct String_vector *v) {
//	for (int32_t i = 0; i < v->count; i++) v->data[i] = NULL;
//	deallocate_String_vector(v);
//	free(v);
// }
// static void *map_new(size_t n) {
//	void *p = mmap(NULL, n, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
//	return p == MAP_FAILED ? NULL : p;
// }
import "C"

import (
	"strings"
	"unsafe"
)

// Block is a block of C memory that lives until Free is called.
type Block struct {
	Addr unsafe.Pointer
	Free func()
}

func freed(p unsafe.Pointer) Block { return Block{p, func() { C.free(p) }} }

// CString is C.CString of a string of n-1 bytes.
func CString(n int) Block { return freed(unsafe.Pointer(C.CString(strings.Repeat("x", n-1)))) }

// Calloc is calloc, called from cgo code.
func Calloc(n int) Block { return freed(C.calloc(1, C.size_t(n))) }

// Strdup is a string of n-1 bytes that libc's strdup allocated.
func Strdup(n int) Block {
	s := C.CString(strings.Repeat("x", n-1))
	defer C.free(unsafe.Pointer(s))
	return freed(unsafe.Pointer(C.strdup(s)))
}

// Asprintf is a string of n-1 bytes that libc's asprintf allocated.
func Asprintf(n int) Block { return freed(unsafe.Pointer(C.libc_asprintf(C.size_t(n)))) }

// StringVector is what libzookeeper allocates for the names of n/8 children:
// deserialize_String_vector of its answers calls the same allocate_String_vector.
func StringVector(n int) Block {
	v := C.vector_new(C.int32_t(n / C.sizeof_uintptr_t))
	return Block{unsafe.Pointer(v.data), func() { C.vector_free(v) }}
}

// ZHandle is a libzookeeper handle, with its threads and buffers, of a server
// that does not answer.
func ZHandle() Block {
	C.zoo_set_debug_level(0)
	host := C.CString("127.0.0.1:1")
	defer C.free(unsafe.Pointer(host))
	zh := C.zookeeper_init(host, nil, 1000, nil, nil, 0)
	return Block{unsafe.Pointer(zh), func() { C.zookeeper_close(zh) }}
}

// Mapped is memory that comes from no malloc at all.
func Mapped(n int) Block {
	p := C.map_new(C.size_t(n))
	return Block{p, func() { C.munmap(p, C.size_t(n)) }}
}

// ExitFromC ends the process by C's exit, which runs the atexit handlers that
// os.Exit does not.
func ExitFromC() { C.exit(0) }
