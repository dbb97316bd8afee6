/* The sampler.
 *
 * Each thread counts down allocated bytes. When the count ends, the allocation that ended it
 * becomes a sample, and the thread draws the distance to the next one. The distances have
 * an exponential distribution with the mean `period`, rounded down. So the sampler has no
 * memory: each allocation of w bytes is sampled with the probability 1 - exp(-w/period),
 * whatever came before it. Readers scale the counts by the inverse of that. This stays true
 * if a thread draws anew at any time, and if it discards a sample for a reason that has
 * nothing to do with the sizes of allocations.
 *
 * free has to tell sampled blocks from all others, quickly. A small one is in the region, an
 * address range of the agent's own (region.c). A large one is a block of the process's
 * malloc, with an address that is page-aligned, or 16 bytes more (blocks.h). If malloc gives
 * such an address by itself, the block is recorded as it is. If not, a page-aligned block
 * takes its place.
 *
 * Nothing here allocates by malloc. While a thread is in here, `inside` keeps the
 * allocations of the process's own functions, which may call each other, from being sampled. */
#define _GNU_SOURCE
#include "sampler.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "blocks.h"
#include "gaps.h"
#include "profile.h"
#include "real.h"
#include "tap.h"
#include "thread.h"

enum {
	PAGE = 4096,
	STRIDE = 1 << 20, /* a thread comes to the sampler after this many bytes at the latest */
	SPARSE = 64 << 10 /* blocks of this size may have pages that were never touched */
};

AGENT_THREAD_LOCAL struct agent_thread agent_thread;

static bool on, ended;

static void set_left(struct agent_thread *t, uint64_t bytes)
{
	t->left = bytes < STRIDE ? bytes : STRIDE;
	t->more = bytes - t->left;
}

/* Counts an allocation and decides whether it becomes a sample, for that generation. */
static bool due(size_t n, uint32_t *sample_generation)
{
	struct agent_thread *t = &agent_thread;
	uint64_t weight = agent_weight(n), bytes;
	uint32_t now;

	if (t->inside)
		return false;
	if (!__atomic_load_n(&on, __ATOMIC_ACQUIRE)) {
		set_left(t, STRIDE);
		t->generation = 0;
		return false;
	}
	now = __atomic_load_n(&agent_generation, __ATOMIC_ACQUIRE);
	bytes = t->left + t->more;
	if (t->generation != now) {
		t->generation = now;
		bytes = agent_gap(t, __atomic_load_n(&agent_period, __ATOMIC_RELAXED));
	}
	if (bytes >= weight) {
		set_left(t, bytes - weight);
		return false;
	}
	set_left(t, agent_gap(t, __atomic_load_n(&agent_period, __ATOMIC_RELAXED)));
	*sample_generation = now;
	return true;
}

/* Makes n bytes at `to`, which is page-aligned, equal to those at `from`, or 0 if from is NULL.
 * Pages that are equal already are only read. If they were never touched, they do not
 * become resident. */
static void copy(char *to, const char *from, size_t n)
{
	static char zeros[PAGE];

	/* The kernel gives pages of zeros in their place, when they are touched. It refuses that
	 * where memory is locked. */
	if (from == NULL && n >= SPARSE && madvise(to, n & ~(size_t)(PAGE - 1), MADV_DONTNEED) == 0) {
		memset(to + (n & ~(size_t)(PAGE - 1)), 0, n & (PAGE - 1));
		return;
	}
	for (size_t at = 0; at < n; at += PAGE) {
		size_t some = n - at < PAGE ? n - at : PAGE;
		const char *source = from != NULL ? from + at : zeros;

		if (n < SPARSE || memcmp(to + at, source, some) != 0)
			memcpy(to + at, source, some);
	}
}

enum contents { NONE, ZEROS, DATA };

/* Makes a sample of the block p of n bytes, which malloc has given. It returns the block
 * that takes its place. */
static void *sample(void *p, size_t n, enum contents contents, uint32_t sample_generation)
{
	int saved_errno = errno;
	void *other = NULL;

	if (contents == DATA)
		other = agent_region_allocate(n, 1, false);
	if (other == NULL && !agent_block_possible(p))
		other = agent_real_pages(n);
	if (other != NULL) {
		if (contents != NONE)
			copy(other, contents == DATA ? p : NULL, n);
		agent_real.free(p);
		p = other;
	}
	if (agent_may_be_sampled(p))
		agent_profile_add(p, agent_weight(n), sample_generation);
	else
		agent_profile_miss();
	errno = saved_errno;
	return p;
}

/* A sample in the region. It returns NULL if the region does not have such blocks. */
static void *sample_in_region(size_t n, size_t alignment, bool zero, uint32_t sample_generation)
{
	int saved_errno = errno;
	void *p = agent_region_allocate(n, alignment, zero);

	if (p != NULL)
		agent_profile_add(p, agent_weight(n), sample_generation);
	errno = saved_errno;
	return p;
}

/* Alignments that are not right are left to the real function. */
static bool region_aligns(size_t alignment)
{
	return alignment != 0 && (alignment & (alignment - 1)) == 0 && alignment <= AGENT_REGION_ALIGNMENT;
}

/* The real function's errno is kept if it fails. */
#define SAMPLED(n, in_region, alignment, contents, call)                                     \
	uint32_t sample_generation;                                                          \
	void *p = NULL;                                                                      \
                                                                                             \
	if (!due(n, &sample_generation))                                                     \
		return call;                                                                 \
	agent_thread.inside = true;                                                          \
	if (in_region)                                                                       \
		p = sample_in_region(n, alignment, contents == ZEROS, sample_generation);    \
	if (p == NULL && (p = call) != NULL)                                                 \
		p = sample(p, n, contents, sample_generation);                               \
	agent_thread.inside = false;                                                         \
	return p

void *agent_sampled_malloc(size_t n) { SAMPLED(n, true, 1, NONE, agent_real.malloc(n)); }
void *agent_sampled_calloc(size_t count, size_t size) { SAMPLED(count * size, true, 1, ZEROS, agent_real.calloc(count, size)); }
void *agent_sampled_memalign(size_t a, size_t n) { SAMPLED(n, region_aligns(a), a, NONE, agent_real.memalign(a, n)); }
void *agent_sampled_aligned_alloc(size_t a, size_t n) { SAMPLED(n, region_aligns(a), a, NONE, agent_real.aligned_alloc(a, n)); }
void *agent_sampled_valloc(size_t n) { SAMPLED(n, true, PAGE, NONE, agent_real.valloc(n)); }
void *agent_sampled_pvalloc(size_t n) { SAMPLED(n, false, PAGE, NONE, agent_real.pvalloc(n)); }

int agent_sampled_posix_memalign(void **out, size_t alignment, size_t n)
{
	uint32_t sample_generation;
	void *p = NULL;
	int err = 0;

	if (!due(n, &sample_generation))
		return agent_real.posix_memalign(out, alignment, n);
	agent_thread.inside = true;
	if (region_aligns(alignment) && alignment % sizeof p == 0)
		p = sample_in_region(n, alignment, false, sample_generation);
	if (p != NULL) {
		*out = p;
	} else {
		err = agent_real.posix_memalign(out, alignment, n);
		if (err == 0 && *out != NULL)
			*out = sample(*out, n, NONE, sample_generation);
	}
	agent_thread.inside = false;
	return err;
}

/* realloc of a block in the region. The block always moves. */
static void *leave_region(void *old, size_t n, bool is_due, uint32_t sample_generation)
{
	size_t size = agent_region_block_size(old);
	uint32_t old_generation;
	struct agent_block block;
	bool was_sampled = agent_profile_take(old, &block, &old_generation), freed;
	void *p = NULL;

	if (n == 0) { /* the C library says what that does */
		void *any = agent_real.malloc(1);

		if (any != NULL)
			p = agent_real.realloc(any, 0);
	} else {
		if (is_due)
			p = sample_in_region(n, 1, false, sample_generation);
		if (p == NULL && (p = agent_real.malloc(n)) != NULL && is_due)
			p = sample(p, n, NONE, sample_generation);
		if (p != NULL)
			memcpy(p, old, n < size ? n : size);
	}
	freed = p != NULL || n == 0;
	if (was_sampled)
		agent_profile_settle(&block, old_generation, freed);
	if (freed)
		agent_region_free(old);
	return p;
}

/* realloc of another block. */
static void *resize(void *old, size_t n, bool is_due, uint32_t sample_generation)
{
	uint32_t old_generation;
	struct agent_block block;
	bool was_sampled = old != NULL && agent_block_possible(old) && agent_profile_take(old, &block, &old_generation);
	void *p = agent_real.realloc(old, n);

	if (was_sampled) /* realloc to 0 bytes may free the block and return NULL */
		agent_profile_settle(&block, old_generation, p != NULL || n == 0);
	if (is_due && p != NULL)
		p = sample(p, n, DATA, sample_generation);
	return p;
}

void *agent_sampled_realloc(void *old, size_t n)
{
	uint32_t sample_generation = 0;
	bool is_due = due(n, &sample_generation), was_inside = agent_thread.inside;
	void *p;

	agent_thread.inside = was_inside || is_due;
	p = agent_region_owns(old) ? leave_region(old, n, is_due, sample_generation) : resize(old, n, is_due, sample_generation);
	agent_thread.inside = was_inside;
	return p;
}

void agent_sampled_free(void *p)
{
	struct agent_block block;
	uint32_t block_generation;

	if (p == NULL)
		return;
	if (agent_profile_take(p, &block, &block_generation))
		agent_profile_settle(&block, block_generation, true);
	if (agent_region_owns(p))
		agent_region_free(p);
	else
		agent_real.free(p);
}

static uint64_t valid_period(uint64_t period)
{
	return period == 0 ? 1 : period > AGENT_MAX_PERIOD ? AGENT_MAX_PERIOD : period;
}

/* The calling thread need not come to the end of its stride to heed a change. */
static void heed(void) { agent_thread.left = agent_thread.more = 0; }

bool agent_sampler_start(uint64_t period, bool start_on)
{
	agent_real_find();
	agent_find_takes_lock(); /* finds it out now: it cannot in the child of a fork */
	if (!agent_profile_start(valid_period(period)))
		return false;
	agent_sampler_set(start_on);
	return true;
}

void agent_sampler_set(bool set_on)
{
	__atomic_store_n(&on, set_on && !ended, __ATOMIC_RELEASE);
	heed();
}

void agent_sampler_end(void)
{
	ended = true;
	agent_sampler_set(false);
}

void agent_sampler_period(uint64_t period)
{
	period = valid_period(period);
	if (period != __atomic_load_n(&agent_period, __ATOMIC_RELAXED))
		agent_profile_restart(period);
	heed();
}

void agent_sampler_stats(struct agent_stats *stats)
{
	agent_profile_stats(stats);
	stats->on = __atomic_load_n(&on, __ATOMIC_RELAXED);
}
