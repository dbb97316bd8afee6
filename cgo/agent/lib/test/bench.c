/* Measures malloc and free in three patterns: small blocks of which none is live, mixed ones,
 * and mixed ones that the program also writes. It prints nanoseconds for each pair. The
 * argument is the period, 0 for off. Run it with and without the library: see bench.sh. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "exports.h"

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static double small(long n)
{
	double start = now();

	for (long i = 0; i < n; i++) {
		void *volatile p = malloc(16 + (i & 7) * 16);

		free(p);
	}
	return (now() - start) / n;
}

static double mixed(long n, bool write)
{
	enum { LIVE = 1 << 14 };
	static void *live[LIVE];
	uint64_t random = 88172645463325252;
	double start = now();

	for (long i = 0; i < n; i++) {
		random ^= random << 13, random ^= random >> 7, random ^= random << 17;
		void **p = &live[random % LIVE];
		size_t size = (random >> 20) % 100 < 95 ? (random >> 30) % 512 : (random >> 30) % 16384;

		free(*p);
		*p = malloc(size);
		if (write)
			memset(*p, (int)i, size);
	}
	start = (now() - start) / n;
	for (int i = 0; i < LIVE; i++)
		free(live[i]), live[i] = NULL;
	return start;
}

int main(int argc, char **argv)
{
	uint64_t period = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;

	if (test_start != NULL)
		test_start(period == 0 ? 512 << 10 : period, period != 0);
	small(1000000);
	mixed(200000, true);
	printf("%.2f %.2f %.2f\n", small(20000000), mixed(4000000, false), mixed(4000000, true));
	return 0;
}
