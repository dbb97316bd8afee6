/* Lets test programs call the sampler of the library that is preloaded into them. The real
 * library exports nothing but the interposed functions. */
#include "exports.h"

#include <stdlib.h>

#include "../internal.h"

#define EXPORTED __attribute__((visibility("default")))

EXPORTED bool test_start(uint64_t period, bool on)
{
	gojemalloc_libraries_start();
	return agent_sampler_start(period, on);
}
EXPORTED void test_set(bool on) { agent_sampler_set(on); }
EXPORTED void test_period(uint64_t period) { agent_sampler_period(period); }
EXPORTED void test_stats(struct agent_stats *stats) { agent_sampler_stats(stats); }
EXPORTED bool test_each(bool (*put)(void *, const struct agent_stack *), void *arg) { return agent_sampler_each(put, arg); }
EXPORTED bool test_map(size_t n) { return agent_map(n) != NULL; }
EXPORTED const char *test_real_path(void) { return agent_real_path(); }
EXPORTED bool test_is_first(const char **other) { return agent_is_first(other); }
EXPORTED unsigned test_libraries_len(void) { return gojemalloc_libraries_len(); }
EXPORTED unsigned test_libraries_get(unsigned i, struct gojemalloc_library *library, uintptr_t *pcs, bool *full)
{
	return gojemalloc_libraries_get(i, library, pcs, full);
}

/* Programs that know nothing of the tests are sampled if the environment says so. */
static __attribute__((constructor)) void start(void)
{
	const char *period = getenv("TEST_PERIOD");

	if (period != NULL)
		test_start(strtoull(period, NULL, 10), true);
}
