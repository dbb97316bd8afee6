package main

/*
#include <stdlib.h>
#include <string.h>

// Allocates and writes blocks of 16 to 2,048 bytes, which are alive together, and frees them.
static void work(int blocks)
{
	void *b[blocks];

	for (int i = 0; i < blocks; i++) {
		size_t size = (size_t)16 << (i % 8);
		b[i] = malloc(size);
		memset(b[i], i, size);
	}
	for (int i = 0; i < blocks; i++)
		free(b[i]);
}
*/
import "C"

import (
	"io"
	"net/http"
)

// newMalloc answers everything, after work in C that is most of the time of a request. The
// work is that of the bench's own malloc server, which is linked with jemalloc.
func newMalloc() (http.Handler, error) {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		C.work(1000)
		_, _ = io.WriteString(w, "done\n")
	}), nil
}
