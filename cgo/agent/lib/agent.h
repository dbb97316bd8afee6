/* The agent as a whole. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <stdbool.h>

/* How the agent came into the process: "preload" or "attach". */
const char *agent_entered(void);

/* Whether the sampler was started. */
bool agent_sampling(void);

#endif
