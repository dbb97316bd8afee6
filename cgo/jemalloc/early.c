/* Unwinding in a statically linked program, while it starts.
 *
 * jemalloc unwinds its own stack once when it starts, and then the stack of each
 * allocation that it samples. In a dynamically linked program that is possible from
 * the first malloc on. In a statically linked one glibc calls malloc while it starts
 * (_dl_non_dynamic_init), before it has noted where the program's .eh_frame is, and
 * before the program's first constructor has registered it (crtbeginT.o). Then
 * libgcc's _Unwind_Backtrace does not find the function that called it, and aborts
 * without a message, or it reads a table that glibc has not finished.
 *
 * So the linker replaces all calls of _Unwind_Backtrace by calls of the wrapper below
 * (link.go: --wrap), except those of __real__Unwind_Backtrace. In a static program the
 * wrapper returns no frames until the constructor below has run. Before that glibc and
 * the unwinder allocate a few KiB of tables. If jemalloc samples these, they are in the
 * profile with an empty stack.
 *
 * A shared libjemalloc calls the real _Unwind_Backtrace, because the linker does not
 * change shared libraries. A static program has none. */
#include <stdbool.h>
#include <stddef.h>
#include <sys/auxv.h>

#include "walk.h"

static bool constructed;

_Unwind_Reason_Code __wrap__Unwind_Backtrace(_Unwind_Trace_Fn fn, void *arg)
{
	/* AT_BASE is the address of the dynamic loader. Static programs have none. */
	if (!constructed && getauxval(AT_BASE) == 0)
		return _URC_END_OF_STACK;
	return __real__Unwind_Backtrace(fn, arg);
}

static _Unwind_Reason_Code nothing(struct _Unwind_Context *context, void *arg)
{
	(void)context, (void)arg;
	return _URC_NO_REASON;
}

/* Constructors without a priority, such as this one, run after the one that registers
 * .eh_frame.
 *
 * The unwinder's first search sorts what was registered. libgcc allocates memory for
 * that while it holds a lock that each search takes (GCC 12). If jemalloc sampled that
 * allocation, unwinding it would take the same lock again: a deadlock. So the first
 * search is made here, while nothing else is unwound. */
__attribute__((constructor)) static void construct(void)
{
	__real__Unwind_Backtrace(nothing, NULL);
	constructed = true;
}
