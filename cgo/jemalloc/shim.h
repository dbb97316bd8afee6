#ifndef GOJEMALLOC_SHIM_H
#define GOJEMALLOC_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifndef JEMALLOC_NO_DEMANGLE
#define JEMALLOC_NO_DEMANGLE /* je_mallctl stays defined: as the name that the library has */
#endif
#include <jemalloc/jemalloc.h>

#if JEMALLOC_VERSION_MAJOR < 5 || (JEMALLOC_VERSION_MAJOR == 5 && JEMALLOC_VERSION_MINOR < 3)
#error "jemalloc 5.3.0 or newer is needed: install libjemalloc-dev 5.3.0, or build one (build/native.sh) and point CGO_CFLAGS and CGO_LDFLAGS at it"
#endif

/* A library with a prefix leaves malloc to libc: its profile would be empty. */
#define GOJEMALLOC_TEXT(x) #x
#define GOJEMALLOC_NAME(macro) GOJEMALLOC_TEXT(macro)
_Static_assert(sizeof GOJEMALLOC_NAME(je_mallctl) == sizeof "mallctl",
	"this jemalloc.h is of a jemalloc configured with --with-jemalloc-prefix, which is not the malloc of a process: point CGO_CFLAGS and CGO_LDFLAGS at one without a prefix (build/native.sh builds one)");

/* mallctl, or ENOSYS where jemalloc is not linked. */
int gojemalloc_ctl(const char *name, void *oldp, size_t *oldlenp, void *newp, size_t newlen);

/* The controls that take or give a string. *value lives as long as jemalloc keeps it. */
int gojemalloc_ctl_get_string(const char *name, const char **value);
int gojemalloc_ctl_set_string(const char *name, const char *value);

struct gojemalloc_stats {
	uint64_t allocated, active, metadata, resident, mapped, retained;
};

/* Refreshes the statistics' epoch, then reads them. *failed names the control that failed. */
int gojemalloc_stats_read(struct gojemalloc_stats *stats, const char **failed);

/* The length of the string that gojemalloc_strdup_moves copies. */
enum { GOJEMALLOC_PROBE_LEN = 4096 };

/* What this thread's count of allocated bytes moves by when libc's strdup copies a
 * string of that length. The copy is not sampled. */
int gojemalloc_strdup_moves(uint64_t *moved);

#endif
