#include "leaktest.h"

#include <stdlib.h>
#include <string.h>

__attribute__((noinline)) static struct leaktest_record *leaktest_new_record(size_t size, struct leaktest_record *next)
{
	struct leaktest_record *r = malloc(size < sizeof *r ? sizeof *r : size);
	if (r == NULL)
		abort();
	memset(r, 1, size);
	r->next = next;
	return r;
}

struct leaktest_record *leaktest_leak(size_t n, size_t size)
{
	struct leaktest_record *head = NULL;
	for (size_t i = 0; i < n; i++)
		head = leaktest_new_record(size, head);
	return head;
}

struct leaktest_record *leaktest_untouched(size_t size)
{
	struct leaktest_record *r = malloc(size);
	if (r == NULL)
		abort();
	r->next = NULL;
	return r;
}

void leaktest_free(struct leaktest_record *head)
{
	while (head != NULL) {
		struct leaktest_record *next = head->next;
		free(head);
		head = next;
	}
}
