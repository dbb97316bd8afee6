/* Threads with the smallest stacks allocate, and every allocation is sampled. The kernel ends
 * the program if a stack overflows, because there is a guard page below each. */
#include <limits.h>
#include <pthread.h>

#include "check.h"
#include "exports.h"

enum { THREADS = 50, STACK = 16 << 10 };

static void *run(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++) {
		char *p = keep(malloc(i * 37));

		p = keep(realloc(p, i * 1000 + 1));
		p[i * 1000] = 1;
		free(p);
		free(keep(calloc(i, 3)));
	}
	return NULL;
}

int main(void)
{
	pthread_attr_t attr;
	pthread_t threads[THREADS];
	struct agent_stats stats;

	CHECK(test_start != NULL, "the library is not preloaded");
	CHECK(test_start(1, true), "the sampler does not start");
	pthread_attr_init(&attr);
	CHECK(pthread_attr_setstacksize(&attr, STACK) == 0, "pthread_attr_setstacksize");
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], &attr, run, NULL) == 0, "pthread_create");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	test_stats(&stats);
	CHECK(stats.all_objects >= THREADS * 300, "%lu samples", stats.all_objects);
	printf("small: %lu samples\n", stats.all_objects);
	return 0;
}
