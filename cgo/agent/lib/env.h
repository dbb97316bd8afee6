/* The environment in which the agent came into the process. */
#ifndef AGENT_ENV_H
#define AGENT_ENV_H

#include <stdbool.h>
#include <stdint.h>

struct agent_settings {
	uint64_t sample; /* mean distance of two samples, in bytes */
	bool off;        /* do not sample yet */
	bool children;   /* programs that this one starts get the agent too */
};

/* Reads MAGELLAN_AGENT: sample=BYTES,off=0|1,children=0|1. What is missing or not a number
 * has its default. */
void agent_env_read(struct agent_settings *settings);

/* Takes the agent out of LD_PRELOAD, and MAGELLAN_AGENT out of the environment, so that
 * programs that this one starts do not get it. If the library is an open file of this
 * process, it is closed. path is how the dynamic linker was told of the library. */
void agent_env_leave(const char *path);

#endif
