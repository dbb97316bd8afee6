#ifndef GOWALK_WALK_H
#define GOWALK_WALK_H

#include <unwind.h>

#include "landmarks.h"

/* The walk along a stack of C and Go frames. walk.c describes how. It allocates no memory,
 * takes no lock and calls no Go. */

/* How a walk has ended. */
enum gowalk_end {
	GOWALK_WHOLE,   /* at the start of the goroutine or of C's thread */
	GOWALK_FULL,    /* the buffer is full: the outermost frames are missing */
	GOWALK_RUNTIME, /* Go's runtime itself calls C, on the thread's own stack: it ends there */
	GOWALK_NO_GO,   /* where Go begins: there are no landmarks */
	GOWALK_BLIND,   /* in C code that has no unwinding information, and no way out of it was found */
	/* What is on the stack does not fit the landmarks. The stack is right up to there. */
	GOWALK_SLOTS,  /* what asmcgocall has stored */
	GOWALK_CALLER, /* the caller of asmcgocall */
	GOWALK_FRAME,  /* a frame of the goroutine */
	GOWALK_ORDER,  /* the order of the goroutine's frames */
	GOWALK_BACK,   /* the way from cgocallbackg to crosscall2 */
	GOWALK_ENDS
};

struct gowalk {
	void **pcs; /* return addresses, the innermost first */
	uint32_t len, max;
	const struct goimage *image; /* NULL: end where Go begins */
	const struct landmarks *landmarks;
	/* Called for each frame from the innermost one on, until it returns false. It says
	 * whether the frame is the allocator's own: of these the stack has the outermost only. It
	 * may change *pc, the address to record. If it cannot say yet, it sets undecided and
	 * returns true: then no frame is left out, and it is asked about the next one. It is NULL
	 * if there are none. */
	bool (*inside)(struct gowalk *walk, struct _Unwind_Context *frame, uintptr_t *pc);

	uint32_t crossings, callbacks, scans; /* how often the walk went from C to Go, back, and out of blind C code */

	bool inner, undecided, skip;
	uintptr_t ip, cfa; /* of the last frame */
};

/* libgcc's _Unwind_Backtrace. Package cgo/jemalloc links a wrapper in its place (early.c). */
_Unwind_Reason_Code __real__Unwind_Backtrace(_Unwind_Trace_Fn fn, void *arg);

_Unwind_Reason_Code gowalk_frame(struct _Unwind_Context *frame, void *walk);
enum gowalk_end gowalk_rest(struct gowalk *walk);

/* Walks the stack from the caller of the function in which this stands. It is not a function
 * of its own, because each frame takes time. pcs, max, image, landmarks and inside are to be
 * set. */
static inline __attribute__((always_inline)) enum gowalk_end gowalk(struct gowalk *walk)
{
	walk->len = walk->crossings = walk->callbacks = walk->scans = 0;
	walk->inner = walk->inside != NULL;
	walk->ip = 0;
	walk->skip = true;
	__real__Unwind_Backtrace(gowalk_frame, walk);
	return gowalk_rest(walk);
}

#endif
