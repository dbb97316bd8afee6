/* The sampler: which allocations of the process are recorded, and what is recorded of
 * them. agent.c starts it and reads its profile; tap.c brings it the allocations. */
#ifndef AGENT_SAMPLER_H
#define AGENT_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "estimate.h"

struct agent_stats {
	uint64_t period; /* mean distance of two samples, in allocated bytes */
	bool on;
	uint64_t live_objects, live_bytes; /* samples whose block has not been freed */
	struct agent_estimate live;        /* what these stand for */
	uint64_t all_objects, all_bytes;   /* samples since the last change of the period */
	uint64_t stacks;                   /* stacks that are kept */
	uint64_t stacks_dropped;           /* stacks that were dropped to save memory */
	uint64_t own_bytes;                /* resident memory of the sampler's tables, an estimate */
	uint64_t missed;                   /* samples lost because memory was short */
};

/* One stack of a snapshot: the counts of its samples, and what they stand for. pcs are
 * return addresses, innermost first; pcs[0] is in the interposed function, for example
 * malloc. */
struct agent_stack {
	uint64_t period; /* of the whole snapshot */
	uint64_t live_objects, live_bytes, all_objects, all_bytes;
	struct agent_estimate live, all;
	const uintptr_t *pcs;
	uint32_t len;
};

/* Maps the tables and starts the sampler. A period of 0
 * counts as 1. Without this call the interposed functions only hand on. To be called once.
 * It returns false if the kernel refuses the memory. */
bool agent_sampler_start(uint64_t period, bool on);

/* Switches the sampler off for the life of this process. */
void agent_sampler_end(void);

/* While the sampler is off, frees of sampled blocks are still recorded. A thread heeds a
 * change after it has allocated at most 1 MiB. Both functions may be called at any time
 * after agent_sampler_start. */
void agent_sampler_set(bool on);
void agent_sampler_period(uint64_t period); /* resets the profile if the period changes */

void agent_sampler_stats(struct agent_stats *stats);

/* Calls put with a consistent snapshot: first with the totals (pcs is NULL), then with each
 * stack that has a sample. The all-counts of dropped stacks are in one stack with len 0 (pcs
 * is not NULL). put may block, because no lock is held while it runs. The stack is valid
 * during the call only. agent_sampler_each returns false if put did, or if memory is short. */
bool agent_sampler_each(bool (*put)(void *arg, const struct agent_stack *stack), void *arg);

/* The file whose malloc serves the process (real.c). "" if there is none. */
const char *agent_real_path(void);

/* Whether the dynamic loader binds the process's calls of malloc to the agent. If not,
 * *other is the file that they are bound to. */
bool agent_is_first(const char **other);

#endif
