/* Memory from the kernel, for the tables. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>

#include "internal.h"

/* Where memory is short, each sample would ask the kernel in vain. So after a refusal the
 * next requests are refused at once. */
void *agent_map(size_t n)
{
	enum { REFUSED_AFTERWARDS = 1000 };
	static uint32_t refusals;
	uint32_t left = __atomic_load_n(&refusals, __ATOMIC_RELAXED);
	int saved_errno = errno;
	void *p;

	if (left != 0) {
		__atomic_compare_exchange_n(&refusals, &left, left - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
		return NULL;
	}
	p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		__atomic_store_n(&refusals, REFUSED_AFTERWARDS, __ATOMIC_RELAXED);
	errno = saved_errno;
	return p == MAP_FAILED ? NULL : p;
}
