#ifndef TEST_EXPORTS_H
#define TEST_EXPORTS_H

#include <stddef.h>

#include "../../../jemalloc/libraries.h"
#include "../sampler.h"

/* Undefined without the preloaded library, so a program can tell whether it is there. */
#define WEAK __attribute__((weak))

WEAK bool test_start(uint64_t period, bool on);
WEAK void test_set(bool on);
WEAK void test_period(uint64_t period);
WEAK void test_stats(struct agent_stats *stats);
WEAK bool test_each(bool (*put)(void *arg, const struct agent_stack *stack), void *arg);
WEAK bool test_map(size_t n);
WEAK const char *test_real_path(void);
WEAK bool test_is_first(const char **other);
WEAK unsigned test_libraries_len(void);
WEAK unsigned test_libraries_get(unsigned i, struct gojemalloc_library *library, uintptr_t *pcs, bool *full);

#endif
