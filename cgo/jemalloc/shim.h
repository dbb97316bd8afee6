#ifndef GOJEMALLOC_SHIM_H
#define GOJEMALLOC_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifndef JEMALLOC_NO_DEMANGLE
#define JEMALLOC_NO_DEMANGLE /* keeps the macro je_mallctl, which is the function's name in the library */
#endif
#include <jemalloc/jemalloc.h>

#if JEMALLOC_VERSION_MAJOR < 5 || (JEMALLOC_VERSION_MAJOR == 5 && JEMALLOC_VERSION_MINOR < 3)
#error "jemalloc 5.3.0 or newer is needed: install libjemalloc-dev 5.3.0, or build one (build/native.sh) and point CGO_CFLAGS and CGO_LDFLAGS at it"
#endif

/* A jemalloc with a prefix is not the malloc of the process, so its profile would be empty. */
#define GOJEMALLOC_TEXT(x) #x
#define GOJEMALLOC_NAME(macro) GOJEMALLOC_TEXT(macro)
_Static_assert(sizeof GOJEMALLOC_NAME(je_mallctl) == sizeof "mallctl",
	"this jemalloc.h is of a jemalloc configured with --with-jemalloc-prefix, which is not the malloc of a process: point CGO_CFLAGS and CGO_LDFLAGS at one without a prefix (build/native.sh builds one)");

/* Calls mallctl. Returns ENOSYS if jemalloc is not linked. */
int gojemalloc_ctl(const char *name, void *oldp, size_t *oldlenp, void *newp, size_t newlen);

/* Get and set a control that is a string. *value belongs to jemalloc. */
int gojemalloc_ctl_get_string(const char *name, const char **value);
int gojemalloc_ctl_set_string(const char *name, const char *value);

struct gojemalloc_stats {
	uint64_t allocated, active, metadata, resident, mapped, retained;
};

/* Refreshes the statistics' epoch, then reads them. *failed names the control that failed. */
int gojemalloc_stats_read(struct gojemalloc_stats *stats, const char **failed);

/* The length of the string that gojemalloc_strdup_moves copies. */
enum { GOJEMALLOC_PROBE_LEN = 4096 };

/* Sets *moved to how much this thread's count of allocated bytes grows when libc's
 * strdup copies a string of GOJEMALLOC_PROBE_LEN bytes. The copy is not sampled. */
int gojemalloc_strdup_moves(uint64_t *moved);

#endif
