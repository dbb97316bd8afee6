/* The interposed functions. They run for each allocation of the process, so they do only this:
 * they count down the bytes to the thread's next sample and hand on to the process's own
 * function. free tests whether the address is one that a sampled block could have.
 *
 * reallocarray is not interposed, because those of glibc and musl call realloc. */
#include <errno.h>
#include <stddef.h>

#include "blocks.h"
#include "real.h"
#include "tap.h"
#include "thread.h"

#define TAP __attribute__((visibility("default"), section("agent_tap")))

/* free is never in a stack, so it is not in that section. */
#define EXPORTED __attribute__((visibility("default")))

#define LIKELY(condition) __builtin_expect(!!(condition), 1)

/* The value of a call that must not become a jump: the interposed function has to be in the
 * stack that is recorded. */
#define CALL(expression) ({ __typeof__(expression) value_ = (expression); __asm__ volatile("" : "+r"(value_)); value_; })

/* Counts n bytes. Returns false, and counts nothing, if the sampler has to be called. */
static inline __attribute__((always_inline)) bool count(size_t n)
{
	uint64_t weight = agent_weight(n), left = agent_thread.left;

	if (!LIKELY(left >= weight))
		return false;
	agent_thread.left = left - weight;
	return true;
}

TAP void *malloc(size_t n)
{
	if (LIKELY(count(n)))
		return agent_real.malloc(n);
	return CALL(agent_sampled_malloc(n));
}

TAP void *calloc(size_t objects, size_t size)
{
	size_t n;

	if (__builtin_mul_overflow(objects, size, &n) || LIKELY(count(n)))
		return agent_real.calloc(objects, size);
	return CALL(agent_sampled_calloc(objects, size));
}

TAP void *realloc(void *p, size_t n)
{
	if (LIKELY(!agent_may_be_sampled(p)) && LIKELY(count(n)))
		return agent_real.realloc(p, n);
	return CALL(agent_sampled_realloc(p, n));
}

EXPORTED void free(void *p)
{
	if (LIKELY(!agent_may_be_sampled(p)))
		agent_real.free(p);
	else
		agent_sampled_free(p);
}

/* C23. glibc has them since 2.43. */
EXPORTED void free_sized(void *p, size_t n)
{
	(void)n;
	free(p);
}

EXPORTED void free_aligned_sized(void *p, size_t alignment, size_t n)
{
	(void)alignment, (void)n;
	free(p);
}

EXPORTED size_t malloc_usable_size(void *p)
{
	return agent_region_owns(p) ? agent_region_block_size(p) : agent_real.malloc_usable_size(p);
}

TAP void *memalign(size_t alignment, size_t n)
{
	if (LIKELY(count(n)))
		return agent_real.memalign(alignment, n);
	return CALL(agent_sampled_memalign(alignment, n));
}

TAP void *aligned_alloc(size_t alignment, size_t n)
{
	if (LIKELY(count(n)))
		return agent_real.aligned_alloc(alignment, n);
	return CALL(agent_sampled_aligned_alloc(alignment, n));
}

TAP int posix_memalign(void **p, size_t alignment, size_t n)
{
	if (LIKELY(count(n)))
		return agent_real.posix_memalign(p, alignment, n);
	return CALL(agent_sampled_posix_memalign(p, alignment, n));
}

TAP void *valloc(size_t n)
{
	if (LIKELY(count(n)))
		return agent_real.valloc(n);
	return CALL(agent_sampled_valloc(n));
}

TAP void *pvalloc(size_t n)
{
	if (LIKELY(count(n)))
		return agent_real.pvalloc(n);
	return CALL(agent_sampled_pvalloc(n));
}
