/* A library that allocates and can be closed. It is built several times, with a name of its
 * own for the function that allocates, and with other code before it. */
#include <stdlib.h>
#include <string.h>

#ifndef NAME
#define NAME library_allocate
#endif

#ifndef OTHER
#define OTHER 1
#endif

static void *volatile last;

int library_other(volatile int *n)
{
#pragma GCC unroll 64
	for (int i = 0; i < OTHER; i++)
		n[i] *= i + 3;
	return n[0];
}

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
