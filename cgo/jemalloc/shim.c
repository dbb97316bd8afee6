#include "shim.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
/* The address sanitizer is the malloc. link.go does not link jemalloc then. */
#pragma weak mallctl
#endif

int gojemalloc_ctl(const char *name, void *oldp, size_t *oldlenp, void *newp, size_t newlen)
{
#ifdef __SANITIZE_ADDRESS__
	if (mallctl == NULL)
		return ENOSYS;
#endif
	return mallctl(name, oldp, oldlenp, newp, newlen);
}

int gojemalloc_ctl_get_string(const char *name, const char **value)
{
	size_t len = sizeof *value;
	return gojemalloc_ctl(name, value, &len, NULL, 0);
}

int gojemalloc_ctl_set_string(const char *name, const char *value)
{
	return gojemalloc_ctl(name, NULL, NULL, &value, sizeof value);
}

int gojemalloc_stats_read(struct gojemalloc_stats *stats, const char **failed)
{
	const struct {
		const char *name;
		uint64_t *value;
	} ctl[] = {
		{"stats.allocated", &stats->allocated},
		{"stats.active", &stats->active},
		{"stats.metadata", &stats->metadata},
		{"stats.resident", &stats->resident},
		{"stats.mapped", &stats->mapped},
		{"stats.retained", &stats->retained},
	};
	uint64_t epoch = 1;
	int err = gojemalloc_ctl(*failed = "epoch", NULL, NULL, &epoch, sizeof epoch);

	for (size_t i = 0; err == 0 && i < sizeof ctl / sizeof ctl[0]; i++) {
		size_t value, len = sizeof value;
		err = gojemalloc_ctl(*failed = ctl[i].name, &value, &len, NULL, 0);
		if (err == 0)
			*ctl[i].value = value;
	}
	return err;
}

/* Switches sampling of this thread's allocations on or off (thread.prof.active). It
 * fails if profiling is off. */
static int sample_this_thread(bool on, bool *before)
{
	size_t len = sizeof *before;
	return gojemalloc_ctl("thread.prof.active", before, &len, &on, sizeof on);
}

int gojemalloc_strdup_moves(uint64_t *moved)
{
	/* volatile, because compilers assume that strdup changes no variable. */
	volatile uint64_t *allocated;
	char text[GOJEMALLOC_PROBE_LEN + 1];
	bool active, ignored;
	size_t len = sizeof allocated;
	int err = gojemalloc_ctl("thread.allocatedp", &allocated, &len, NULL, 0);
	if (err != 0)
		return err;

	memset(text, 'x', GOJEMALLOC_PROBE_LEN);
	text[GOJEMALLOC_PROBE_LEN] = 0;

	/* The copy must not be sampled. It is freed at once, but a sample of it would stay in
	 * the profile of all memory that was ever allocated. If jemalloc skips a sample, it
	 * draws the distance to the next one anew, so later samples are as random as before. */
	bool switched = sample_this_thread(false, &active) == 0;
	uint64_t before = *allocated;
	char *copy = strdup(text);
	*moved = *allocated - before;
	free(copy);
	if (switched)
		sample_this_thread(active, &ignored);
	return copy == NULL ? ENOMEM : 0;
}
