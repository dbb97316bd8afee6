#ifndef STITCHTEST_H
#define STITCHTEST_H

#include <stddef.h>
#include <stdint.h>

/* Recurses depth times in C. The innermost call calls back into Go with the rest of the
 * plan. If rest is NULL, it allocates n bytes instead (st_leaf). */
void st_hop(int depth, const uint8_t *rest, size_t n);

/* Runs a plan on a new thread made by C, and waits for its end. */
int st_thread(const uint8_t *plan, size_t n);

/* Allocates and frees n bytes, count times. It is the loop of a benchmark, and returns its
 * processor time in nanoseconds. */
int64_t st_many(size_t n, size_t count);

/* Allocates n bytes in ST_ENTRIES ways, and one byte by malloc for realloc. Frees all. */
enum { ST_ENTRIES = 6 };
int st_entries(size_t n);

/* Allocates n bytes in a signal handler (st_leaf). The signal interrupts the first
 * instruction of a function (st_trap). Returns 0 if st_trap is not implemented for this
 * processor. */
int st_signal(size_t n);

/* Returns the name of function i and sets the range of its code. Returns NULL if there is
 * no such function. */
const char *st_function(int i, uintptr_t *start, uintptr_t *end);

/* Returns the name of the exported function at pc in a shared library. Returns NULL if pc
 * is in this executable or in no library. */
const char *st_library_function(uintptr_t pc);

#endif
