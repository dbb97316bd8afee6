/* What the sampler keeps of each thread. */
#ifndef AGENT_THREAD_H
#define AGENT_THREAD_H

#include <stdbool.h>
#include <stdint.h>

struct agent_thread {
	/* The bytes that the thread may still allocate before the sampler is called are left. The
	 * next sample comes after left + more bytes. left is bounded, so that a thread soon sees
	 * that the sampler was switched on or that the period has changed. */
	uint64_t left, more;
	uint64_t random;     /* state of the generator of random numbers, 0 = not seeded */
	uint32_t generation; /* of the period that left + more was drawn for, 0 = none */
	bool inside;         /* the thread is in the sampler: what it allocates there is not sampled */
	bool forking;        /* the thread is in fork and holds all locks of the agent */
};

/* Initial-exec needs no call to find the variable, and no allocation at its first use. It
 * takes room in the static TLS block, of which little is free for libraries that are loaded
 * late: this structure has to stay small. */
#define AGENT_THREAD_LOCAL __thread __attribute__((tls_model("initial-exec"), visibility("hidden")))
extern AGENT_THREAD_LOCAL struct agent_thread agent_thread;

#endif
