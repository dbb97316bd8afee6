#ifndef LEAKTEST_H
#define LEAKTEST_H

#include <stddef.h>

/* The first bytes of a block. The rest of the block may have any content. */
struct leaktest_record {
	struct leaktest_record *next;
};

struct leaktest_record *leaktest_leak(size_t n, size_t size);
struct leaktest_record *leaktest_untouched(size_t size);
/* Opens a library. If it fails, it returns NULL and sets *error. */
void *leaktest_open(const char *path, const char **error);
/* Calls void *function(size_t) of a library. If there is none, it returns NULL and sets
 * *error. */
void *leaktest_call(void *library, const char *function, size_t size, const char **error);
void leaktest_close(void *library);
void leaktest_free(struct leaktest_record *head);

#endif
