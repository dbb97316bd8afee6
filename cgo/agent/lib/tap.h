/* Between the interposed functions (tap.c) and the sampler. */
#ifndef AGENT_TAP_H
#define AGENT_TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blocks.h"
#include "region.h"

/* The interposed functions that allocate stand in a section of their own. The linker
 * defines these bounds of it. */
extern const char agent_tap_start[] __asm__("__start_agent_tap") __attribute__((visibility("hidden")));
extern const char agent_tap_stop[] __asm__("__stop_agent_tap") __attribute__((visibility("hidden")));

/* Whether a return address is in an interposed function: malloc, calloc, realloc...
 * Such a function calls the sampler by an ordinary call, not by a jump. So every walk that
 * starts in the sampler meets such a frame. The frames before it are the sampler's own and
 * have to be left out. This frame is the first that agent_walk returns. */
static inline bool agent_in_tap(uintptr_t return_address)
{
	return return_address - 1 - (uintptr_t)agent_tap_start < (uintptr_t)agent_tap_stop - (uintptr_t)agent_tap_start;
}

/* What an allocation of n bytes counts, and the size that is recorded for it. Blocks of 0
 * bytes count too, because they need memory and can leak. It is 0 if n is so large that no
 * malloc gives it. */
static inline uint64_t agent_weight(size_t n)
{
	return (n + (n == 0) + 15) & ~(uint64_t)15;
}

/* These functions do what their namesakes do, and record a sample if it is time for one.
 * They are called if an allocation's weight is more than agent_thread.left, and leave it to
 * their caller otherwise to subtract the weight. */
void *agent_sampled_malloc(size_t n);
void *agent_sampled_calloc(size_t count, size_t size); /* count * size does not overflow */
void *agent_sampled_memalign(size_t alignment, size_t n);
void *agent_sampled_aligned_alloc(size_t alignment, size_t n);
int agent_sampled_posix_memalign(void **p, size_t alignment, size_t n);
void *agent_sampled_valloc(size_t n);
void *agent_sampled_pvalloc(size_t n);

/* Also called if agent_may_be_sampled(p), whatever agent_thread.left is. */
void *agent_sampled_realloc(void *p, size_t n);

/* Called if agent_may_be_sampled(p). */
void agent_sampled_free(void *p);

/* False for nearly all blocks that were not sampled. */
static inline bool agent_may_be_sampled(const void *p)
{
	return agent_region_has(p) || agent_block_possible(p);
}

#endif
