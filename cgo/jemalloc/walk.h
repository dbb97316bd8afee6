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
	 * may change *pc, the address to record. It is NULL if there are none. */
	bool (*inside)(struct gowalk *walk, struct _Unwind_Context *frame, uintptr_t *pc);

	uint32_t crossings, callbacks, scans; /* how often the walk went from C to Go, back, and out of blind C code */

	bool inner, skip;
	uintptr_t ip, cfa; /* of the last frame */
};

/* Walks the stack of its caller. pcs, max, image, landmarks and inside are to be set. */
enum gowalk_end gowalk(struct gowalk *walk);

#endif
