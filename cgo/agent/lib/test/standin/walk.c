/* A walk by libgcc alone, for the tests of the sampler. The agent has a better one. */
#include "walk.h"

#include <stdbool.h>
#include <stdint.h>
#include <unwind.h>

#include "../../tap.h"

struct walk {
	void **pcs;
	unsigned len, max;
	bool entered; /* the walk has met the interposed function */
};

static _Unwind_Reason_Code frame(struct _Unwind_Context *context, void *arg)
{
	struct walk *w = arg;
	uintptr_t pc = _Unwind_GetIP(context);

	w->entered = w->entered || agent_in_tap(pc);
	if (!w->entered)
		return _URC_NO_REASON;
	if (w->len == w->max || pc == 0)
		return _URC_END_OF_STACK;
	w->pcs[w->len++] = (void *)pc;
	return _URC_NO_REASON;
}

unsigned agent_walk(void **pcs, unsigned max)
{
	struct walk w = {.pcs = pcs, .max = max};

	_Unwind_Backtrace(frame, &w);
	return w.len;
}
