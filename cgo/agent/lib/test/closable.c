/* A library that closed.c opens and closes. It is built twice, with other code
 * before the function that allocates. */
#include <stdlib.h>

int library_other(volatile int *n)
{
#pragma GCC unroll 64
	for (int i = 0; i < OTHER; i++)
		n[i] *= i + 3;
	return n[0];
}

static void *volatile own;

/* The dynamic linker calls these while it holds its lock. */
__attribute__((constructor)) static void begin(void) { own = malloc(48); }
__attribute__((destructor)) static void end(void) { free(own); }

void *library_allocate(size_t n)
{
	void *volatile p = malloc(n); /* no tail call, so that this function is on the stack */

	return p;
}
