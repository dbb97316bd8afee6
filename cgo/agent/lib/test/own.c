/* A program with a malloc of its own. The agent has to notice that it is not asked. */
#include <string.h>

#include "check.h"
#include "exports.h"

static char memory[1 << 20] __attribute__((aligned(4096)));
static size_t used;

/* Frees nothing. */
void *malloc(size_t n)
{
	void *p = memory + used;

	used += (n + 4095) & ~(size_t)4095;
	return used <= sizeof memory ? p : NULL;
}
void free(void *p) { (void)p; }
void *calloc(size_t a, size_t b) { return malloc(a * b); }
void *realloc(void *p, size_t n)
{
	void *q = malloc(n);

	if (p != NULL && q != NULL)
		memcpy(q, p, n);
	return q;
}

int main(int argc, char **argv)
{
	const char *other;
	struct agent_stats before, after;

	(void)argc;
	CHECK(test_start != NULL, "the library is not preloaded");
	CHECK(test_start(1, true), "the sampler does not start");
	CHECK(!test_is_first(&other), "the agent takes itself for the first");
	CHECK(strcmp(other, realpath(argv[0], NULL)) == 0, "the first is %s, not %s", other, argv[0]);
	test_stats(&before);
	free(keep(malloc(100)));
	test_stats(&after);
	CHECK(before.all_objects == after.all_objects, "the program's own malloc was sampled");
	printf("own: the malloc of %s\n", other);
	return 0;
}
