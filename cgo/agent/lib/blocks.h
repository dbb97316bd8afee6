/* The table of live sampled blocks. */
#ifndef AGENT_BLOCKS_H
#define AGENT_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Only such addresses can be in the table: page-aligned ones and those 16 bytes into a page,
 * which glibc gives to large blocks. So free tells most other blocks without a lookup. */
static inline bool agent_block_possible(const void *p)
{
	return ((uintptr_t)p & 0xfef) == 0;
}

struct agent_block {
	uint64_t address, size;
	uint32_t stack;
};

/* Whether the table has the block. It takes no lock, and may run at the same time as the
 * functions below. The answer is right if the block was live before the call and nobody
 * frees it meanwhile, as in a call of free. */
bool agent_blocks_have(const void *p);

/* The functions below are called with the lock of the profile held. */

bool agent_blocks_start(void);

/* Makes room for one more block. It returns false if the kernel refuses the memory. */
bool agent_blocks_reserve(void);

/* Adds a block, for which there is room, and whose address is not in the table. */
void agent_blocks_add(const struct agent_block *block);

/* Removes the block at p and copies it to *block. It returns false if there is none. */
bool agent_blocks_remove(const void *p, struct agent_block *block);

void agent_blocks_clear(void);
uint64_t agent_blocks_count(void);
uint64_t agent_blocks_bytes(void); /* resident memory of the table */

#endif
