/* The stacks of sampled allocations. The walk itself is that of cgo/jemalloc/walk.c. */
#define _GNU_SOURCE
#include "host.h"

#include <stdlib.h>

#include "../../jemalloc/libraries.h"
#include "real.h"
#include "tap.h"

struct agent_host agent_host;

static uint64_t ends[GOWALK_ENDS], scanned;

void agent_host_find(void)
{
	const char *why = NULL;

	agent_host.has_image = goimage_find(&agent_host.image, 0, &why);
	agent_host.is_go = agent_host.has_image || agent_host.image.unknown;
	agent_host.reason = agent_host.has_image ? landmarks_read(&agent_host.image, &agent_host.landmarks) : why;
}

/* The process's own function in place of the agent's function of the same name. Readers of
 * a dump have the file of the first, and know it as malloc. */
static uintptr_t own_function(uintptr_t function)
{
	const struct {
		void *tap, *own;
	} functions[] = {
		{malloc, agent_real.malloc},
		{calloc, agent_real.calloc},
		{realloc, agent_real.realloc},
		{aligned_alloc, agent_real.aligned_alloc},
		{posix_memalign, agent_real.posix_memalign},
	};

	for (unsigned i = 0; i < sizeof functions / sizeof functions[0]; i++)
		if ((uintptr_t)functions[i].tap == function && functions[i].own != NULL)
			return (uintptr_t)functions[i].own;
	return (uintptr_t)agent_real.memalign;
}

struct allocation {
	struct gowalk walk;
	bool met_tap;
};

/* The frames up to that of the interposed function, the tap, are the agent's. Of them only
 * the tap's is kept. */
static bool inside(struct gowalk *walk, struct _Unwind_Context *frame, uintptr_t *pc)
{
	struct allocation *a = (struct allocation *)walk;

	if (a->met_tap)
		return false;
	a->met_tap = agent_in_tap(*pc);
	if (a->met_tap)
		*pc = own_function(_Unwind_GetRegionStart(frame)) + 1;
	return true;
}

unsigned agent_walk(void **pcs, unsigned max)
{
	struct allocation a = {.walk = {
		.pcs = pcs,
		.max = max,
		.image = agent_host.has_image ? &agent_host.image : NULL,
		.landmarks = agent_host.reason == NULL ? &agent_host.landmarks : NULL,
		.inside = inside,
	}};
	enum gowalk_end end = gowalk(&a.walk);

	__atomic_fetch_add(&ends[end], 1, __ATOMIC_RELAXED);
	if (a.walk.scans > 0)
		__atomic_fetch_add(&scanned, 1, __ATOMIC_RELAXED);
	gojemalloc_libraries_note(pcs, a.walk.len);
	return a.walk.len;
}

uint64_t agent_walks(enum gowalk_end end) { return __atomic_load_n(&ends[end], __ATOMIC_RELAXED); }

uint64_t agent_walks_scanned(void) { return __atomic_load_n(&scanned, __ATOMIC_RELAXED); }

const char *agent_walk_end_name(enum gowalk_end end)
{
	static const char *const names[GOWALK_ENDS] = {
		[GOWALK_WHOLE] = "whole", [GOWALK_FULL] = "full", [GOWALK_RUNTIME] = "runtime",
		[GOWALK_NO_GO] = "no_go", [GOWALK_BLIND] = "blind", [GOWALK_SLOTS] = "slots",
		[GOWALK_CALLER] = "caller", [GOWALK_FRAME] = "frame", [GOWALK_ORDER] = "order", [GOWALK_BACK] = "back",
	};
	return names[end];
}
