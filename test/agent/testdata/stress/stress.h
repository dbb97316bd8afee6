#ifndef STRESS_H
#define STRESS_H

#include <stddef.h>
#include <stdint.h>

/* A step of a plan is four bytes: how Go calls, frames of Go, how C calls, frames of C.
 * The last step has NULL behind it. */

enum c_kind { C_PLAIN, C_SORT, C_KINDS };

enum leaf { LEAF_MALLOC, LEAF_CALLOC, LEAF_REALLOC, LEAF_POSIX_MEMALIGN, LEAF_ALIGNED_ALLOC, LEAVES };

/* What the innermost C function does. */
struct st_end {
	uint32_t plan; /* the number of the plan, which the block carries */
	uint32_t leaf;
	size_t n;      /* size of the block */
	int keep;      /* whether the block lives on */
};

/* Goes down the C frames of a step. The innermost calls Go with rest. If rest is NULL, it
 * allocates. */
void st_hop(int kind, int depth, const uint8_t *rest, const struct st_end *end);

/* Runs a plan on a new thread made by C, and waits for its end. */
int st_thread(const uint8_t *steps, const struct st_end *end);

/* Sets live[i] to the number of blocks of plan i that have not been freed. */
void st_live(uint64_t *live, uint32_t plans);

/* Returns the name of function i and sets the range of its code. Returns NULL if there is
 * no such function. */
const char *st_function(int i, uintptr_t *start, uintptr_t *end);

#endif
