/* Unwinding in a statically linked program, while it starts.
 *
 * jemalloc unwinds its own stack once when it starts, and then the stack of each
 * allocation that it samples. In a dynamically linked program that is possible from
 * the first malloc on. In a statically linked one glibc calls malloc while it starts
 * (_dl_non_dynamic_init), before it has noted where the program's .eh_frame is, and
 * before the program's first constructor has registered it (crtbeginT.o). libgcc's
 * _Unwind_Backtrace does not find the function that called it then, and calls abort
 * without a word, or reads a table that glibc is just about to make.
 *
 * So the linker sends all calls of _Unwind_Backtrace here (link.go: --wrap), but for
 * those that name the real one. In a static program a stack has no frames until the
 * constructor below has run. What jemalloc samples before, a few KiB of glibc's and
 * the unwinder's own tables, is in the profile with an empty stack.
 *
 * A shared libjemalloc calls _Unwind_Backtrace directly. The linker does not change
 * libraries, and these are never part of a static program. */
#include <stdbool.h>
#include <stddef.h>
#include <sys/auxv.h>

#include "stitch.h"

static bool constructed;

_Unwind_Reason_Code __wrap__Unwind_Backtrace(_Unwind_Trace_Fn fn, void *arg)
{
	/* AT_BASE is where the dynamic loader is. Static programs have none. */
	if (!constructed && getauxval(AT_BASE) == 0)
		return _URC_END_OF_STACK;
	return __real__Unwind_Backtrace(fn, arg);
}

static _Unwind_Reason_Code nothing(struct _Unwind_Context *context, void *arg)
{
	(void)context, (void)arg;
	return _URC_NO_REASON;
}

/* Constructors without a priority run after the one that registers .eh_frame.
 *
 * The unwinder's first search sorts what was registered. libgcc allocates memory for
 * that while it holds a lock which each search takes (GCC 12). If that allocation
 * were sampled and unwound, it would wait for itself. So the first search is made
 * here, as long as nothing else is unwound. */
__attribute__((constructor)) static void construct(void)
{
	__real__Unwind_Backtrace(nothing, NULL);
	constructed = true;
}
