/* The process's own malloc and its relatives. */
#ifndef AGENT_REAL_H
#define AGENT_REAL_H

#include <stddef.h>

/* The functions that the agent hands on to. Until they are found, each finds them first. */
struct agent_real {
	void *(*malloc)(size_t);
	void *(*calloc)(size_t, size_t);
	void *(*realloc)(void *, size_t);
	void (*free)(void *);
	void *(*memalign)(size_t, size_t);
	void *(*aligned_alloc)(size_t, size_t);
	int (*posix_memalign)(void **, size_t, size_t);
	void *(*valloc)(size_t);
	void *(*pvalloc)(size_t);
	size_t (*malloc_usable_size)(void *);
};

extern struct agent_real agent_real;

/* The function of that name that the process would call without the agent. NULL if there is
 * none. */
void *agent_real_function(const char *name);

/* Finds the functions if that has not been done, and registers the fork handlers. */
void agent_real_find(void);

/* A page-aligned block of at least n bytes that agent_real.free can free, or NULL. */
void *agent_real_pages(size_t n);

#endif
