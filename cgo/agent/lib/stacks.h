/* The table of stacks: each stack that was sampled, once, with its counts. */
#ifndef AGENT_STACKS_H
#define AGENT_STACKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "estimate.h"
#include "sampler.h"

/* A stack is known by its number. The number stays the same as long as the stack has live
 * blocks. AGENT_NO_STACK is no number. */
#define AGENT_NO_STACK UINT32_MAX

struct agent_counts {
	uint64_t live_objects, live_bytes, all_objects, all_bytes; /* of the samples */
	struct agent_estimate live, all;                           /* what they stand for */
};

/* All functions but agent_stacks_hash and agent_stacks_read are called with the lock of the profile held. */

uint64_t agent_stacks_hash(const uintptr_t *pcs, uint32_t len);

bool agent_stacks_start(void);

/* The number of a stack, which is added if it is new. AGENT_NO_STACK if the kernel refuses
 * the memory. The number is valid until the next call, or as long as the stack has live
 * blocks. */
uint32_t agent_stacks_number(const uintptr_t *pcs, uint32_t len, uint64_t hash);

/* Counts a sampled block. The period is the one that it was sampled with. */
void agent_stacks_allocated(uint32_t stack, uint64_t size, uint64_t period);
void agent_stacks_freed(uint32_t stack, uint64_t size, uint64_t period);

/* Forgets all stacks and counts. */
void agent_stacks_clear(void);

void agent_stacks_totals(struct agent_counts *totals);
uint64_t agent_stacks_count(void);
uint64_t agent_stacks_dropped(void);
uint64_t agent_stacks_bytes(void); /* resident memory of the table */

/* Copies all stacks with a sample into a buffer of at least agent_stacks_copy_size() bytes,
 * back to back. It returns the number of bytes copied. */
size_t agent_stacks_copy_size(void);
size_t agent_stacks_copy(void *buffer);

/* Reads the stack at the start of such a copy, without a lock. It returns the stack's size there. */
size_t agent_stacks_read(const void *copy, struct agent_stack *stack);

#endif
