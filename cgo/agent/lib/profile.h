/* The profile: the sampled blocks and their stacks. */
#ifndef AGENT_PROFILE_H
#define AGENT_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "blocks.h"
#include "sampler.h"

/* The mean distance of two samples, and its generation. A change of the period makes a new
 * generation: what was drawn or sampled for an older one is discarded. 0 is no generation.
 * Both are written under the lock of the profile, the period first. */
extern uint64_t agent_period;
extern uint32_t agent_generation;

/* Registers the fork handlers. It has to be called as early as possible, because the handlers
 * that are registered first are the last that fork calls before it forks. A handler called
 * after the agent's would wait for a lock of the program while the agent's locks are held.
 * The owner of that lock might wait for the agent's, in malloc: a deadlock. */
void agent_profile_prepare_for_forks(void);

/* Whether a walk takes the lock of the dynamic linker's list of objects (find_object.c). */
bool agent_find_takes_lock(void);

/* Around fork: no thread is in that lock meanwhile (find_object.c). */
void agent_find_before_fork(void);
void agent_find_after_fork(bool in_child);

/* Maps the tables. */
bool agent_profile_start(uint64_t period);

/* Changes the period and empties the profile. */
void agent_profile_restart(uint64_t period);

/* Adds the block p, with the stack of the caller, if the generation is still the same. */
void agent_profile_add(const void *p, uint64_t size, uint32_t generation);

/* Counts a sample that was lost. */
void agent_profile_miss(void);

/* Takes a block from the table before it is freed: afterwards another thread may get the same
 * address. The counts of its stack remain until agent_profile_settle is called. It returns
 * false if the block was not sampled. */
bool agent_profile_take(const void *p, struct agent_block *block, uint32_t *generation);

/* Afterwards: the block was freed, or else goes back to the table. */
void agent_profile_settle(const struct agent_block *block, uint32_t generation, bool freed);

/* All but whether the sampler is on. */
void agent_profile_stats(struct agent_stats *stats);

#endif
