#ifndef GOJEMALLOC_STITCH_H
#define GOJEMALLOC_STITCH_H

#include <stdbool.h>
#include <stdint.h>
#include <unwind.h>

/* libgcc's _Unwind_Backtrace. early.c stands before it for everybody else. */
_Unwind_Reason_Code __real__Unwind_Backtrace(_Unwind_Trace_Fn fn, void *arg);

/* The unwinder that jemalloc calls for each sampled allocation: C and Go frames
 * in one stack. stitch.c says how; unwind.go proves it when the process starts. */

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

/* Where Go's runtime keeps what the unwinder needs. All are distances in bytes.
 * They are private to the Go version: unwind.go checks each when the process
 * starts, against the stacks of one real call from Go to C to Go to C. */
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

/* Three return addresses by which a crossing is recognised. They are learned,
 * never guessed; 0 = not known, and C stacks end where Go begins. */
struct gojemalloc_landmarks {
	uintptr_t asmcgocall;  /* in runtime.asmcgocall, behind its call of C */
	uintptr_t cgocallback; /* in runtime.cgocallback, behind its call of cgocallbackg */
	uintptr_t crosscall2;  /* in crosscall2, behind its call of cgocallback */
};

/* One stack, taken in the middle of a call Go -> C -> Go -> C. */
struct gojemalloc_probe {
	uint32_t len;
	const char *broken; /* what did not fit, or NULL */
	void *pcs[GOJEMALLOC_MAX_FRAMES];
};

/* The layout for this processor. False where there is none. */
bool gojemalloc_layout_default(struct gojemalloc_layout *layout);

/* Calls back into Go (gojemallocProbe), as any C code does. */
void gojemalloc_call_back(void);

/* Calls back into Go with known values in the callee-saved registers. To choose
 * them it calls crosscall2 itself, with fn as cgo's C side of gojemallocProbe does.
 * Go has to call gojemalloc_probe_learn or gojemalloc_probe_here. */
void gojemalloc_probe_run(uintptr_t fn);

/* Learns the landmarks from the stack above. It reads memory only through the
 * kernel, and believes no register it does not know: a wrong layout cannot crash it. */
void gojemalloc_probe_learn(const struct gojemalloc_layout *layout,
	struct gojemalloc_landmarks *landmarks, struct gojemalloc_probe *probe);

/* Takes the stack above as the hook does. */
void gojemalloc_probe_here(const struct gojemalloc_layout *layout,
	const struct gojemalloc_landmarks *landmarks, struct gojemalloc_probe *probe);

/* Makes jemalloc call the hook (experimental.hooks.prof_backtrace). Landmarks of
 * zero give C stacks. *stock is the unwinder jemalloc came with. To be called
 * once: the hook reads without locks what this sets. */
int gojemalloc_hook_install(const struct gojemalloc_layout *layout,
	const struct gojemalloc_landmarks *landmarks, void **stock);

/* Puts another unwinder in place: one that jemalloc had, or the hook (NULL). */
int gojemalloc_hook_replace(void *unwinder);

#endif
