/* jemalloc's hook: the stack of an allocation, without jemalloc's own frames.
 *
 * walk.c walks the stack. This file tells it which of the innermost frames are jemalloc's,
 * and records the libraries that are on the stack. Of jemalloc's frames the outermost is
 * kept: malloc, calloc... */
#define _GNU_SOURCE
#include "hook.h"

#include <link.h>
#include <stdatomic.h>

#include "libraries.h"
#include "shim.h"

/* Set once, before the hook is installed. */
static struct goimage go_image;
static struct landmarks go_landmarks;
static bool has_image, has_landmarks;
static uintptr_t allocator_start, allocator_end; /* jemalloc's code, if it is a shared library */

static atomic_uint_least64_t walk_ends[GOWALK_ENDS];

/* The functions by which a program calls jemalloc. If jemalloc is linked statically, the
 * bounds of its code are not known. But the unwinder returns the start of each frame's
 * function, even in a stripped program, and the hook compares it with these functions.
 * malloc calls malloc_default, which has jemalloc's private prefix. If malloc jumps there
 * (a tail call), malloc leaves no frame, and the hook adds one. realloc and rallocx call a
 * function that has no name outside of jemalloc, so build/native.sh compiles them without
 * tail calls.
 *
 * They are declared as functions: if malloc were declared as a variable, debuggers could
 * not call functions in this process. */
#define ENTRIES(X)                                                             \
	X(malloc) X(je_malloc_default) X(calloc) X(realloc) X(aligned_alloc)   \
	X(posix_memalign) X(memalign) X(valloc) X(mallocx) X(rallocx) X(xallocx)

#define DECLARE(name) extern void gojemalloc_##name(void) __asm__(#name) __attribute__((weak));
ENTRIES(DECLARE)
#undef DECLARE

/* The function by which jemalloc was called is among the first MAX_INNER frames. Those
 * before it are prof_backtrace_impl, prof_tctx_create... */
enum { MAX_INNER = 8 };

static inline bool is_entry(uintptr_t function)
{
#define IS(name) || function == (uintptr_t)gojemalloc_##name
	return false ENTRIES(IS);
#undef IS
}

struct allocation {
	struct gowalk walk; /* the first member, because inside() casts its argument to it */
	uintptr_t entry;    /* the function by which jemalloc was called, once it is found */
};

/* Whether a frame is jemalloc's, see gowalk.inside. */
static bool inside(struct gowalk *walk, struct _Unwind_Context *frame, uintptr_t *pc)
{
	struct allocation *a = (struct allocation *)walk;
	uintptr_t function;

	if (allocator_end != 0)
		return *pc - allocator_start < allocator_end - allocator_start;
	function = _Unwind_GetRegionStart(frame);
	if (a->entry != 0) {
		if (a->entry != (uintptr_t)gojemalloc_je_malloc_default || function != (uintptr_t)gojemalloc_malloc)
			return false;
		a->entry = function;
		return true;
	}
	if (function == 0 || !is_entry(function)) {
		walk->undecided = walk->len < MAX_INNER;
		return walk->undecided;
	}
	a->entry = function;
	if (function == (uintptr_t)gojemalloc_je_malloc_default)
		*pc = (uintptr_t)gojemalloc_malloc + 1; /* readers subtract one */
	return true;
}

/* jemalloc calls this for each allocation that it samples. It allocates no memory, takes
 * no lock and calls no Go. */
static void hook(void **pcs, unsigned *len, unsigned max)
{
	struct allocation a = {.walk = {
		.pcs = pcs,
		.max = max,
		.image = has_image ? &go_image : NULL,
		.landmarks = has_landmarks ? &go_landmarks : NULL,
		.inside = inside,
	}};
	enum gowalk_end end = gowalk(&a.walk);

	atomic_fetch_add_explicit(&walk_ends[end], 1, memory_order_relaxed);
	gojemalloc_libraries_note(pcs, a.walk.len);
	*len = a.walk.len;
}

/* Records the code of the library that arg points into as jemalloc's, unless this file is
 * in the same library: then jemalloc is static, and its code has no bounds of its own. */
static int find_allocator(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + p->p_vaddr;

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X) || (uintptr_t)arg - start >= p->p_memsz)
			continue;
		if ((uintptr_t)hook - start >= p->p_memsz) {
			allocator_start = start;
			allocator_end = start + p->p_memsz;
		}
		return 1;
	}
	return 0;
}

int gojemalloc_hook_install(const struct goimage *image, const struct landmarks *landmarks, void **stock)
{
	size_t len = sizeof *stock;
	int err = gojemalloc_ctl("experimental.hooks.prof_backtrace", stock, &len, NULL, 0);

	if (err != 0)
		return err;
	has_image = image != NULL;
	if (has_image)
		go_image = *image;
	has_landmarks = landmarks != NULL;
	if (has_landmarks)
		go_landmarks = *landmarks;
	dl_iterate_phdr(find_allocator, *stock);
	gojemalloc_libraries_start();
	return gojemalloc_hook_replace(NULL);
}

int gojemalloc_hook_replace(void *unwinder)
{
	if (unwinder == NULL)
		unwinder = (void *)hook;
	return gojemalloc_ctl("experimental.hooks.prof_backtrace", NULL, NULL, &unwinder, sizeof unwinder);
}

void gojemalloc_hook_ends(uint64_t ends[GOWALK_ENDS])
{
	for (int i = 0; i < GOWALK_ENDS; i++)
		ends[i] = atomic_load_explicit(&walk_ends[i], memory_order_relaxed);
}
