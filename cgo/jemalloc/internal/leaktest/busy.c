#include "busy.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MAX_THREADS = 1024 };
static pthread_t threads[MAX_THREADS];
static int running;
static atomic_int stopped;
static void *volatile last; /* keeps the compiler from leaving malloc and free out */

static void *compute(void *unused)
{
	(void)unused;
	while (!stopped) {
		for (volatile int i = 0; i < 100000; i++)
			;
		void *block = malloc(1000);
		last = block;
		free(block);
	}
	return NULL;
}

int leaktest_busy(int n)
{
	stopped = 0;
	while (running < n && running < MAX_THREADS && pthread_create(&threads[running], NULL, compute, NULL) == 0)
		running++;
	return running;
}

void leaktest_stop(void)
{
	stopped = 1;
	while (running > 0)
		pthread_join(threads[--running], NULL);
}
