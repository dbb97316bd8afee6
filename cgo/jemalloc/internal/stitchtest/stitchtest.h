#ifndef STITCHTEST_H
#define STITCHTEST_H

#include <stddef.h>
#include <stdint.h>

/* Goes down depth frames of C. There it calls back into Go, with the rest of the
 * plan, or, with rest = NULL, allocates n bytes (st_leaf). */
void st_hop(int depth, const uint8_t *rest, size_t n);

/* Runs a plan on a new thread of C's own, and waits for its end. */
int st_thread(const uint8_t *plan, size_t n);

/* Allocates and frees n bytes, count times: the loop to measure. Gives the processor
 * time that took, in nanoseconds. */
int64_t st_many(size_t n, size_t count);

/* Allocates n bytes in ST_ENTRIES ways and one byte by malloc, and frees all. */
enum { ST_ENTRIES = 6 };
int st_entries(size_t n);

/* Allocates n bytes in a signal's handler (st_leaf), where the signal has interrupted
 * the first instruction of a function (st_trap). False where none is written for the
 * processor. */
int st_signal(size_t n);

/* The code of function i, and its name, or NULL. */
const char *st_function(int i, uintptr_t *start, uintptr_t *end);

/* The exported function that pc is in, and 0 where it is not in this executable. */
const char *st_library_function(uintptr_t pc);

#endif
