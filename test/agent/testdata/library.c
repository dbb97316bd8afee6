/* A library that allocates and can be closed. It is built twice, with names of its own for
 * the function that allocates. */
#include <stdlib.h>
#include <string.h>

#ifndef NAME
#define NAME library_allocate
#endif

static void *volatile last;

__attribute__((noinline)) void NAME(size_t size)
{
	last = malloc(size);
	if (last != NULL)
		memset(last, 1, size);
}

void library_keep(int n, size_t size)
{
	while (n-- > 0)
		NAME(size);
}
