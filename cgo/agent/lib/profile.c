/* The profile: the sampled blocks and their stacks, under one lock.
 *
 * Nothing here calls a function of malloc, and nothing calls the walk with a lock held. */
#define _GNU_SOURCE
#include "profile.h"

#include <sys/mman.h>

#include "internal.h"
#include "region.h"
#include "sampler.h"
#include "stacks.h"
#include "host.h"

enum { PAGE = 4096, MAX_FRAMES = 1024 };

struct agent_lock agent_profile_lock;
uint64_t agent_period;
uint32_t agent_generation;

static uint64_t missed;

/* Room for the frames of a walk. The thread's stack may be too small for it. */
struct buffer {
	struct buffer *next;
	void *pcs[MAX_FRAMES];
};

enum { BUFFERS_AT_ONCE = 8 };
static struct buffer *buffers; /* those not in use */
static struct agent_lock buffers_lock;
static uint64_t buffers_mapped;

static struct buffer *take_buffer(void)
{
	struct buffer *b, *fresh;

	agent_lock(&buffers_lock);
	if ((b = buffers) != NULL)
		buffers = b->next;
	agent_unlock(&buffers_lock);
	if (b != NULL || (fresh = agent_map(BUFFERS_AT_ONCE * sizeof *fresh)) == NULL)
		return b;
	for (int i = 1; i < BUFFERS_AT_ONCE - 1; i++)
		fresh[i].next = &fresh[i + 1];
	agent_lock(&buffers_lock);
	fresh[BUFFERS_AT_ONCE - 1].next = buffers;
	buffers = &fresh[1];
	buffers_mapped += BUFFERS_AT_ONCE * sizeof *fresh;
	agent_unlock(&buffers_lock);
	return fresh;
}

static void give_buffer(struct buffer *b)
{
	agent_lock(&buffers_lock);
	b->next = buffers;
	buffers = b;
	agent_unlock(&buffers_lock);
}

void agent_profile_miss(void) { __atomic_add_fetch(&missed, 1, __ATOMIC_RELAXED); }

/* With the lock held. */
static bool add_sample(const void *p, uint64_t size, const uintptr_t *pcs, uint32_t len, uint64_t hash)
{
	struct agent_block block;
	uint32_t stack;

	/* A block that was freed by a way that does not come to the agent. */
	if (agent_blocks_remove(p, &block))
		agent_stacks_freed(block.stack, block.size, agent_period);
	if (!agent_blocks_reserve())
		return false;
	stack = agent_stacks_number(pcs, len, hash);
	if (stack == AGENT_NO_STACK)
		return false;
	block = (struct agent_block){(uintptr_t)p, size, stack};
	agent_blocks_add(&block);
	agent_stacks_allocated(stack, size, agent_period);
	return true;
}

void agent_profile_add(const void *p, uint64_t size, uint32_t sample_generation)
{
	struct buffer *b = take_buffer();
	const uintptr_t *pcs;
	uint64_t hash;
	uint32_t len;
	bool ok = true;

	if (b == NULL) {
		agent_profile_miss();
		return;
	}
	len = agent_walk(b->pcs, MAX_FRAMES);
	pcs = (const uintptr_t *)b->pcs;
	hash = agent_stacks_hash(pcs, len);
	agent_lock(&agent_profile_lock);
	if (sample_generation == agent_generation)
		ok = add_sample(p, size, pcs, len, hash);
	agent_unlock(&agent_profile_lock);
	give_buffer(b);
	if (!ok)
		agent_profile_miss();
}

bool agent_profile_take(const void *p, struct agent_block *block, uint32_t *block_generation)
{
	bool taken;

	if (!agent_blocks_have(p))
		return false;
	agent_lock(&agent_profile_lock);
	taken = agent_blocks_remove(p, block);
	*block_generation = agent_generation;
	agent_unlock(&agent_profile_lock);
	return taken;
}

void agent_profile_settle(const struct agent_block *block, uint32_t block_generation, bool freed)
{
	bool lost = false;

	agent_lock(&agent_profile_lock);
	if (block_generation == agent_generation) {
		lost = !freed && !agent_blocks_reserve();
		if (freed || lost)
			agent_stacks_freed(block->stack, block->size, agent_period);
		else
			agent_blocks_add(block);
	}
	agent_unlock(&agent_profile_lock);
	if (lost)
		agent_profile_miss();
}

/* glibc before 2.34 has pthread_atfork only in a static part, but has __register_atfork since
 * 2.3. musl has pthread_atfork. */
extern int __register_atfork(void (*)(void), void (*)(void), void (*)(void), void *) __attribute__((weak));
extern int pthread_atfork(void (*)(void), void (*)(void), void (*)(void)) __attribute__((weak));

static void before_fork(void)
{
	agent_find_before_fork(); /* first, because a walk may wait for the locks below */
	agent_lock(&agent_profile_lock);
	agent_lock(&buffers_lock);
	agent_region_before_fork();
	agent_thread.forking = true;
}

static void after_fork_in_parent(void)
{
	agent_thread.forking = false;
	agent_find_after_fork(false);
	agent_region_after_fork(false);
	agent_unlock(&buffers_lock);
	agent_unlock(&agent_profile_lock);
}

/* Buffers that other threads had in use stay unused in the child. musl, which has no
 * __register_atfork, frees its lock of objects in the child. */
static void after_fork_in_child(void)
{
	if (__register_atfork != NULL && agent_generation != 0 && agent_find_takes_lock())
		agent_sampler_end();
	agent_thread.forking = false;
	agent_find_after_fork(true);
	agent_region_after_fork(true);
	agent_lock_reset(&buffers_lock);
	agent_lock_reset(&agent_profile_lock);
}

void agent_profile_prepare_for_forks(void)
{
	if (__register_atfork != NULL)
		__register_atfork(before_fork, after_fork_in_parent, after_fork_in_child, NULL);
	else if (pthread_atfork != NULL)
		pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

bool agent_profile_start(uint64_t period)
{
	bool ok;

	agent_lock(&agent_profile_lock);
	ok = agent_blocks_start() && agent_stacks_start();
	if (ok) {
		agent_period = period;
		__atomic_store_n(&agent_generation, 1, __ATOMIC_RELEASE);
	}
	agent_unlock(&agent_profile_lock);
	if (ok)
		agent_region_choose();
	return ok;
}

void agent_profile_restart(uint64_t period)
{
	uint32_t next;

	agent_lock(&agent_profile_lock);
	next = agent_generation + 1;
	__atomic_store_n(&agent_period, period, __ATOMIC_RELAXED);
	__atomic_store_n(&agent_generation, next == 0 ? 1 : next, __ATOMIC_RELEASE);
	agent_blocks_clear();
	agent_stacks_clear();
	agent_unlock(&agent_profile_lock);
}

void agent_profile_stats(struct agent_stats *stats)
{
	struct agent_counts totals;

	agent_lock(&agent_profile_lock);
	agent_stacks_totals(&totals);
	*stats = (struct agent_stats){
		.period = agent_period,
		.live_objects = totals.live_objects,
		.live_bytes = totals.live_bytes,
		.live = totals.live,
		.all_objects = totals.all_objects,
		.all_bytes = totals.all_bytes,
		.stacks = agent_stacks_count(),
		.stacks_dropped = agent_stacks_dropped(),
		.own_bytes = agent_blocks_bytes() + agent_stacks_bytes() + agent_region_bytes() + __atomic_load_n(&buffers_mapped, __ATOMIC_RELAXED),
		.missed = __atomic_load_n(&missed, __ATOMIC_RELAXED),
	};
	agent_unlock(&agent_profile_lock);
}

/* Copies the stacks to memory of its own. *copied is the size of the copy, mapped that of the
 * memory. The memory is touched first, so that the lock is held for the copying only. */
static char *copy_stacks(struct agent_counts *totals, uint64_t *period, size_t *copied, size_t *mapped)
{
	enum { ROOM = 1 << 20 }; /* for what is added meanwhile */
	bool fits = false;

	for (;;) {
		char *memory;

		agent_lock(&agent_profile_lock);
		*mapped = agent_stacks_copy_size() + ROOM;
		agent_unlock(&agent_profile_lock);
		memory = agent_map_now(*mapped);
		if (memory == NULL)
			return NULL;
		for (size_t i = 0; i < *mapped; i += PAGE)
			((volatile char *)memory)[i] = 0;
		agent_lock(&agent_profile_lock);
		fits = agent_stacks_copy_size() <= *mapped;
		if (fits) {
			agent_stacks_totals(totals);
			*period = agent_period;
			*copied = agent_stacks_copy(memory);
		}
		agent_unlock(&agent_profile_lock);
		if (fits)
			return memory;
		munmap(memory, *mapped);
	}
}

bool agent_sampler_each(bool (*put)(void *arg, const struct agent_stack *stack), void *arg)
{
	struct agent_counts totals;
	struct agent_stack stack;
	size_t copied = 0, mapped = 0;
	uint64_t period = 0;
	char *memory = copy_stacks(&totals, &period, &copied, &mapped);
	bool ok;

	if (memory == NULL)
		return false;
	stack = (struct agent_stack){
		.period = period,
		.live_objects = totals.live_objects,
		.live_bytes = totals.live_bytes,
		.all_objects = totals.all_objects,
		.all_bytes = totals.all_bytes,
		.live = totals.live,
		.all = totals.all,
	};
	ok = put(arg, &stack);
	for (size_t at = 0; ok && at < copied;) {
		at += agent_stacks_read(memory + at, &stack);
		stack.period = period;
		ok = put(arg, &stack);
	}
	munmap(memory, mapped);
	return ok;
}
