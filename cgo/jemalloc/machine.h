#ifndef GOWALK_MACHINE_H
#define GOWALK_MACHINE_H

/* Between landmarks.c, which says what is read and in which order, and the readers of one
 * processor's machine code, landmarks_amd64.c and landmarks_arm64.c. */

#include "landmarks.h"

struct reading {
	const struct goimage *image;
	struct landmarks *l;
	uintptr_t g, g2;       /* cgocallbackg, with either calling convention */
	uintptr_t cgocallback; /* set by machine_cgocallback */
};

/* Each reads one function of that name, for goimage_named. They return false if its
 * instructions are not known. */
bool machine_asmcgocall(void *reading, uintptr_t start, uintptr_t end);
bool machine_cgocallback(void *reading, uintptr_t start, uintptr_t end);
bool machine_crosscall2(void *reading, uintptr_t start, uintptr_t end);

/* They set what the size of a frame tells: has_record and call_record of asmcgocall, and
 * back_sp of cgocallback. They return false if the size is not known. */
bool machine_call_frame(const struct goimage *image, struct landmarks *l);
bool machine_back_frame(const struct goimage *image, struct landmarks *l);

/* Whether the slots of asmcgocall are two words that the call of C leaves as they are. */
static inline bool machine_slots(const struct landmarks *l)
{
	return l->call_g >= 0 && l->call_g % 8 == 0 && l->call_depth >= 0 && l->call_depth % 8 == 0 &&
		l->call_g != l->call_depth && l->g_lo >= 0 && l->g_lo % 8 == 0;
}

/* The words of a frame that were stored to. */
struct machine_frame {
	uint64_t stored[2];
};

/* Notes a store. at and sp, the stack pointer, are distances from the upper end of the frame.
 * Returns false if it is not in the frame, or overwrites what was stored before. */
static inline bool machine_store(struct machine_frame *frame, int32_t sp, int32_t at)
{
	uint32_t word = (uint32_t)-at / 8 - 1;

	if (at % 8 != 0 || at < sp || at >= 0 || word >= 128 || frame->stored[word / 64] >> word % 64 & 1)
		return false;
	frame->stored[word / 64] |= UINT64_C(1) << word % 64;
	return true;
}

#endif
