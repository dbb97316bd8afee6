#ifndef GOWALK_LANDMARKS_H
#define GOWALK_LANDMARKS_H

#include "goimage.h"

enum {
	/* Callee-saved registers that the unwinding of C code may need. */
#if defined(__x86_64__)
	GOWALK_SAVED = 6, /* rbx rbp r12 r13 r14 r15 */
#elif defined(__aarch64__)
	GOWALK_SAVED = 11, /* x19 ... x29 */
#else
	GOWALK_SAVED = 1, /* no walker is written for this processor */
#endif
};

/* The places of Go's runtime at which a stack crosses between C and Go, and where the
 * runtime keeps there what the walk needs. Distances are in bytes. */
struct landmarks {
	/* runtime.asmcgocall calls C. */
	uintptr_t asmcgocall, asmcgocall_end;
	uintptr_t call_return;       /* the return address of that call */
	int32_t call_g, call_depth;  /* from the stack pointer of that call: g, and how deep the goroutine's stack was */
	bool has_record;             /* asmcgocall has a frame record on the goroutine's stack. In Go 1.20 it has only its return address */
	int32_t call_record;         /* from hi - depth to that record, or to the return address */
	int32_t g_lo, g_hi;          /* in runtime.g: the bounds of its stack */
	/* The distance of the thread's g from the thread pointer, 0 if it is not known. */
	intptr_t tls_g;

	/* crosscall2, which C calls, calls runtime.cgocallback, which calls runtime.cgocallbackg
	 * on the goroutine's stack. They are 0 in a program in which C does not call Go. */
	uintptr_t back_return;       /* in cgocallback, of its call of cgocallbackg */
	uintptr_t cross_return;      /* in crosscall2, of its call of cgocallback */
	int32_t back_sp;             /* from cgocallback's frame record to crosscall2's stack pointer at its call */
	int32_t saved[GOWALK_SAVED]; /* from that stack pointer: the registers of crosscall2's caller */
	int32_t cross_ret, cross_cfa; /* from there: crosscall2's own return address, and its caller's stack pointer */
};

/* Reads the landmarks from the machine code of the runtime. Returns NULL, or what was not
 * found: then no stack can be followed from C into Go. */
const char *landmarks_read(const struct goimage *image, struct landmarks *landmarks);

/* Whether the instruction before a return address, which is in Go's code, calls asmcgocall. */
bool landmarks_calls_asmcgocall(const struct landmarks *landmarks, uintptr_t return_address);

#endif
