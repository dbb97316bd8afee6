/* Memory from the kernel, for the tables. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>

#include "internal.h"

/* How many calls of agent_map are still refused without a question to the kernel. */
static uint32_t refusals;

void *agent_map_now(size_t n)
{
	enum { REFUSED_AFTERWARDS = 1000 };
	int saved_errno = errno;
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	__atomic_store_n(&refusals, p == MAP_FAILED ? REFUSED_AFTERWARDS : 0, __ATOMIC_RELAXED);
	errno = saved_errno;
	return p == MAP_FAILED ? NULL : p;
}

void *agent_map(size_t n)
{
	uint32_t left = __atomic_load_n(&refusals, __ATOMIC_RELAXED);

	if (left == 0)
		return agent_map_now(n);
	__atomic_compare_exchange_n(&refusals, &left, left - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	return NULL;
}
