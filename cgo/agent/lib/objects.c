/* The objects of the process, as the C library lists them. The linker (--wrap) makes all calls
 * of dl_iterate_phdr, those of libgcc too, calls of this one. */
#define _GNU_SOURCE
#include <link.h>
#include <stddef.h>

#include "libc.h"

typedef int visit_function(struct dl_phdr_info *info, size_t size, void *arg);

extern int __real_dl_iterate_phdr(visit_function *visit, void *arg) __attribute__((weak));

__attribute__((visibility("hidden"))) int __wrap_dl_iterate_phdr(visit_function *visit, void *arg)
{
	return __real_dl_iterate_phdr != NULL ? __real_dl_iterate_phdr(visit, arg) : 0;
}

bool agent_has_libc(void) { return __real_dl_iterate_phdr != NULL; }
