/* The agent as a whole. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <stdbool.h>

/* Whether the sampler was started. */
bool agent_sampling(void);

#endif
