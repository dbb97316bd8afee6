/* Memory of the agent's own, for small blocks that are sampled. */
#ifndef AGENT_REGION_H
#define AGENT_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	AGENT_REGION_LARGEST = 64 << 10,  /* bytes of a block */
	AGENT_REGION_ALIGNMENT = 4 << 10, /* the largest that it can have */
};

#define AGENT_REGION_SIZE ((uintptr_t)1 << 35)

/* Until the region is chosen, no address is in it. */
extern uintptr_t agent_region_start __attribute__((visibility("hidden")));

/* Whether an address is in the region. Others may have memory there too. */
static inline bool agent_region_has(const void *p)
{
	return (uintptr_t)p - agent_region_start < AGENT_REGION_SIZE;
}

/* Whether the block at an address is from here. */
bool agent_region_owns(const void *p);

/* Chooses the addresses. If there is no memory for the table of spans, no blocks are taken
 * from here, and that is no failure. */
void agent_region_choose(void);

/* A block of n bytes, filled with zeros if wanted. Returns NULL if the kernel gives no
 * memory, or if the region does not have blocks of this size or alignment. alignment is a power of two. */
void *agent_region_allocate(size_t n, size_t alignment, bool zero);

void agent_region_free(void *p);

/* How many bytes a block has: at least those that were asked for. */
size_t agent_region_block_size(const void *p);

/* The resident memory of free blocks, an estimate. */
uint64_t agent_region_bytes(void);

/* Around fork. */
void agent_region_before_fork(void);
void agent_region_after_fork(bool in_child);

#endif
