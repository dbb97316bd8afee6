/* The stacks of sampled allocations, and how their walks have ended. */
#ifndef AGENT_HOST_H
#define AGENT_HOST_H

#include "../../jemalloc/walk.h"

/* The Go program of this process. It is set before the sampler starts, and not changed
 * afterwards. */
extern struct agent_host {
	bool is_go, has_image; /* the image of a Go version that is unknown is not read */
	struct goimage image;
	struct landmarks landmarks;
	const char *reason; /* why stacks end where Go begins, or NULL if they do not */
} agent_host __attribute__((visibility("hidden")));

/* Finds the Go program and its landmarks. */
void agent_host_find(void);

/* The stack of an allocation, called from inside the sampler: return addresses, innermost
 * first. The first one is in the process's own malloc, calloc..., in place of the agent's
 * function of that name. It records the libraries that are on the stack (libraries.h). */
unsigned agent_walk(void **pcs, unsigned max);

/* How many walks have ended in each way. */
uint64_t agent_walks(enum gowalk_end end);
uint64_t agent_walks_scanned(void);
const char *agent_walk_end_name(enum gowalk_end end);

#endif
