#ifndef GOJEMALLOC_HOOK_H
#define GOJEMALLOC_HOOK_H

#include "walk.h"

/* The unwinder that jemalloc calls for each allocation that it samples
 * (experimental.hooks.prof_backtrace). It returns C and Go frames in one stack, by the walk
 * of walk.c. */

/* Makes jemalloc call the hook. With landmarks of NULL stacks end where Go begins. image is
 * NULL if no Go program was found. *stock is jemalloc's own unwinder. To be called once:
 * the hook reads without locks what this sets. A second call, in tests, is possible while
 * no other thread allocates. */
int gojemalloc_hook_install(const struct goimage *image, const struct landmarks *landmarks, void **stock);

/* Makes jemalloc call another unwinder: jemalloc's own, or the hook (NULL). */
int gojemalloc_hook_replace(void *unwinder);

/* How often the hook's walks have ended in each way: enum gowalk_end. */
void gojemalloc_hook_ends(uint64_t ends[GOWALK_ENDS]);

#endif
