#ifndef GOJEMALLOC_STITCH_H
#define GOJEMALLOC_STITCH_H

#include <stdbool.h>
#include <stdint.h>
#include <unwind.h>

/* libgcc's _Unwind_Backtrace. All other code calls the wrapper in early.c instead. */
_Unwind_Reason_Code __real__Unwind_Backtrace(_Unwind_Trace_Fn fn, void *arg);

/* The unwinder that jemalloc calls for each sampled allocation. It returns C and Go
 * frames in one stack. stitch.c describes how; unwind.go tests it at start. */

enum {
	/* Callee-saved registers that the unwinding of C code may need. */
#if defined(__x86_64__)
	GOJEMALLOC_SAVED = 6, /* rbx rbp r12 r13 r14 r15 */
#elif defined(__aarch64__)
	GOJEMALLOC_SAVED = 11, /* x19 ... x29 */
#else
	GOJEMALLOC_SAVED = 0,
#endif
	GOJEMALLOC_MAX_FRAMES = 512,
};

/* Where Go's runtime keeps what the unwinder needs, as distances in bytes. Another Go
 * version may have others. So unwind.go checks each at start, by the stacks of a call
 * from Go to C to Go to C. */
struct gojemalloc_layout {
	/* From the stack pointer with which runtime.asmcgocall calls C. */
	int32_t call_g, call_depth;
	/* From the goroutine's stack pointer in asmcgocall to its frame record. */
	int32_t call_frame;
	/* In runtime.g. */
	int32_t g_lo, g_hi;
	/* From the frame record of runtime.cgocallback to the stack pointer with
	 * which crosscall2 called it. */
	int32_t back_sp;
	/* From that stack pointer: the registers of crosscall2's caller, its return
	 * address, and its own stack pointer. */
	int32_t saved[GOJEMALLOC_SAVED + (GOJEMALLOC_SAVED == 0)];
	int32_t ret, cfa;
};

/* Three return addresses by which the unwinder recognises a crossing between C and Go.
 * The self-test finds them. If they are 0, stacks end where Go begins. */
struct gojemalloc_landmarks {
	uintptr_t asmcgocall;  /* in runtime.asmcgocall, behind its call of C */
	uintptr_t cgocallback; /* in runtime.cgocallback, behind its call of cgocallbackg */
	uintptr_t crosscall2;  /* in crosscall2, behind its call of cgocallback */
};

/* A stack that was taken inside a call Go -> C -> Go -> C. */
struct gojemalloc_probe {
	uint32_t len;
	const char *broken; /* what did not fit, or NULL */
	void *pcs[GOJEMALLOC_MAX_FRAMES];
};

/* Sets *layout to that of this processor. Returns false if there is none. */
bool gojemalloc_layout_default(struct gojemalloc_layout *layout);

/* Calls gojemallocProbe, which is Go, as any C code does. */
void gojemalloc_call_back(void);

/* Calls Go with known values in the callee-saved registers. For that it calls
 * crosscall2 itself, with the fn that cgo's C side of gojemallocProbe passes. Go must
 * then call gojemalloc_probe_learn or gojemalloc_probe_here. */
void gojemalloc_probe_run(uintptr_t fn);

/* Finds the landmarks on the stack of gojemalloc_probe_run. It reads memory only
 * through the kernel and compares each register with the known values, so a wrong
 * layout cannot make it crash. */
void gojemalloc_probe_learn(const struct gojemalloc_layout *layout,
	struct gojemalloc_landmarks *landmarks, struct gojemalloc_probe *probe);

/* Takes the stack of gojemalloc_probe_run in the same way as the hook. */
void gojemalloc_probe_here(const struct gojemalloc_layout *layout,
	const struct gojemalloc_landmarks *landmarks, struct gojemalloc_probe *probe);

/* Makes jemalloc call the hook (experimental.hooks.prof_backtrace). With landmarks of
 * zero the hook takes C stacks. *stock is jemalloc's own unwinder. To be called once,
 * because the hook reads without locks what this sets. */
int gojemalloc_hook_install(const struct gojemalloc_layout *layout,
	const struct gojemalloc_landmarks *landmarks, void **stock);

/* Makes jemalloc call another unwinder: jemalloc's own, or the hook (NULL). */
int gojemalloc_hook_replace(void *unwinder);

#endif
