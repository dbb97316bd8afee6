/* What the files of the sampler share. */
#ifndef AGENT_INTERNAL_H
#define AGENT_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "lock.h"

/* Protects the tables of blocks and of stacks, so that a snapshot of both is consistent. */
extern struct agent_lock agent_profile_lock;

/* Memory from the kernel, filled with zeros. NULL if the kernel refuses. Both keep errno.
 *
 * Where memory is short, each sample would ask the kernel in vain. So after a refusal the
 * next calls of agent_map are refused at once. agent_map_now always asks. */
void *agent_map(size_t n);
void *agent_map_now(size_t n);

#endif
