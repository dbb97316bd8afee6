package main

/*
#include <stdlib.h>
#include <string.h>

// Allocates and writes blocks of 16 to 2,048 bytes, which are alive together, and
// frees them.
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

import "net/http"

// mallocsPerRequest makes a request's time mostly malloc's.
const mallocsPerRequest = 1000

// mallocs answers everything, after work in C.
func mallocs(body []byte) http.Handler {
	answer := prebuilt(body)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		C.work(mallocsPerRequest)
		answer.ServeHTTP(w, r)
	})
}
