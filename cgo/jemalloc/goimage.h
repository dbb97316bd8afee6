#ifndef GOWALK_GOIMAGE_H
#define GOWALK_GOIMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The Go program in this process, as it lies in memory. goimage.c finds it and reads its
 * tables, landmarks_*.c reads the machine code of its runtime. Nothing here allocates
 * memory or takes a lock, except goimage_find. All of it is read only once it is found,
 * so any thread may use it. */

struct goimage_ftab {
	uint32_t entry, func; /* distances from text and from funcs */
};

/* Go's function table (pclntab), through the pointers of runtime.moduledata. */
struct goimage {
	const char *names, *files;
	const uint32_t *units; /* for each compilation unit: distances in files */
	size_t nunits;
	const uint8_t *values; /* pctab: tables of pairs (difference of value, difference of address) */
	size_t nvalues;
	const uint8_t *funcs; /* pclntable: runtime._func and what follows it */
	const struct goimage_ftab *ftab;
	size_t nfunc; /* ftab has one entry more, for the end */
	uintptr_t text, etext, gofunc;
	bool unknown; /* instead of all this: there is a Go program, but of a version that is unknown here */
};

/* Finds the Go program in the object (executable or library) that has the address near, or
 * in the first object that has one if near is 0. It takes the dynamic linker's lock. If it
 * returns false, *why says what was not found. */
bool goimage_find(struct goimage *image, uintptr_t near, const char **why);

static inline bool goimage_has(const struct goimage *image, uintptr_t pc)
{
	return pc - image->text < image->etext - image->text;
}

/* Finds the function that has the address pc: ftab[*index]. */
bool goimage_function(const struct goimage *image, uintptr_t pc, size_t *index);

/* The name of a function. */
const char *goimage_name(const struct goimage *image, size_t index);

/* Whether a function of that name begins at an address. */
bool goimage_begins(const struct goimage *image, uintptr_t pc, const char *name);

/* Calls fn for each function of that name. There may be several: one is the code, others
 * are wrappers of it with another calling convention. Ends if fn returns true, and
 * returns whether it did. */
bool goimage_named(const struct goimage *image, const char *name,
	bool (*fn)(void *arg, uintptr_t start, uintptr_t end), void *arg);

/* The size in bytes of the frame at an instruction, without the return address (pcsp). It
 * is -1 if it is not known. */
int32_t goimage_frame_size(const struct goimage *image, uintptr_t pc);

struct goimage_frame {
	const char *function, *file; /* file is "?" if it is not known */
	int32_t line;
	bool more; /* goimage_frames_next has another frame */
	uintptr_t pc;
	size_t index;
};

/* The functions of an address, the innermost inlined one first, and at last the one whose
 * code it is. For a return address pass the address minus 1. */
bool goimage_frames_first(const struct goimage *image, uintptr_t pc, struct goimage_frame *frame);
bool goimage_frames_next(const struct goimage *image, struct goimage_frame *frame);

#endif
