/* What the files of the sampler share. */
#ifndef AGENT_INTERNAL_H
#define AGENT_INTERNAL_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include "lock.h"

/* Protects the tables of blocks and of stacks, so that a snapshot of both is consistent. */
extern struct agent_lock agent_profile_lock;

/* Memory from the kernel, filled with zeros. NULL if the kernel refuses. Keeps errno. */
static inline void *agent_map(size_t n)
{
	int saved_errno = errno;
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	errno = saved_errno;
	return p == MAP_FAILED ? NULL : p;
}

#endif
