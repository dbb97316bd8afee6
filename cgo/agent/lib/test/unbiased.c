/* Four threads allocate known numbers of blocks of several sizes, in random order. The
 * estimates from the samples have to be within six standard deviations, and six samples, of
 * the truth. A correct sampler fails with a probability of less than 1e-6.
 * Argument: the period. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "check.h"
#include "exports.h"

enum { THREADS = 4, KINDS = 5, KEEP_ONE_IN = 16 };

/* For each thread. The two smallest have the same weight, and are told apart by their stacks. */
static const struct kind {
	size_t size;
	int blocks;
} kinds[KINDS] = {{0, 2000000}, {8, 2000000}, {100, 1500000}, {5000, 60000}, {300000, 2000}};

static uint64_t period;
static _Atomic uint64_t kept_blocks[KINDS];

static __attribute__((noinline)) void *allocate_0(void) { return keep(malloc(0)); }
static __attribute__((noinline)) void *allocate_8(void) { return keep(calloc(1, 8)); }
static __attribute__((noinline)) void *allocate_100(void) { return keep(malloc(100)); }
static __attribute__((noinline)) void *allocate_5000(void) { return keep(malloc(5000)); }
static __attribute__((noinline)) void *allocate_300000(void) { return keep(realloc(NULL, 300000)); }
static void *(*const allocate[KINDS])(void) = {allocate_0, allocate_8, allocate_100, allocate_5000, allocate_300000};

static pthread_barrier_t barrier;

static void *run(void *seed)
{
	uint64_t random = (uintptr_t)seed * 0x9e3779b97f4a7c15u;
	int left[KINDS];
	long total = 0;

	/* The period is very long, and the thread has drawn its distance to the first sample. */
	free(keep(malloc(100)));
	pthread_barrier_wait(&barrier);
	/* main changes the period. The thread has to heed that within 1 MiB. */
	pthread_barrier_wait(&barrier);
	free(keep(malloc(1 << 20)));
	free(keep(malloc(1 << 20)));
	pthread_barrier_wait(&barrier);
	/* main has the sum of what was sampled up to here. */
	pthread_barrier_wait(&barrier);
	for (int k = 0; k < KINDS; k++)
		total += left[k] = kinds[k].blocks;
	for (long n = 0; total > 0; n++) {
		long at = next_random(&random) % (uint64_t)total;
		int k = 0;
		void *p;

		while (at >= left[k])
			at -= left[k++];
		left[k]--;
		total--;
		p = allocate[k]();
		CHECK(p != NULL, "an allocation of %zu bytes", kinds[k].size);
		if (n % KEEP_ONE_IN == 0)
			atomic_fetch_add(&kept_blocks[k], 1);
		else
			free(p);
	}
	return NULL;
}

struct sums {
	uint64_t live[KINDS], all[KINDS];
	struct agent_stack totals, summed;
};

/* A stack is of the kind whose function is the caller of malloc. */
static bool put(void *arg, const struct agent_stack *s)
{
	struct sums *sums = arg;

	if (s->pcs == NULL) {
		sums->totals = *s;
		return true;
	}
	sums->summed.live_objects += s->live_objects;
	sums->summed.live_bytes += s->live_bytes;
	sums->summed.all_objects += s->all_objects;
	sums->summed.all_bytes += s->all_bytes;
	for (int k = 0; k < KINDS; k++)
		if (s->len > 1 && s->pcs[1] - (uintptr_t)allocate[k] < 40) {
			sums->live[k] += s->live_objects;
			sums->all[k] += s->all_objects;
			CHECK(s->all_bytes == s->all_objects * weight(kinds[k].size), "%lu objects of %zu bytes have %lu bytes", s->all_objects, kinds[k].size, s->all_bytes);
		}
	return true;
}

static void check(const char *what, size_t size, uint64_t samples, uint64_t blocks)
{
	double p = 1 - exp(-(double)weight(size) / (double)period);
	double error = samples - blocks * p, deviation = sqrt(blocks * p * (1 - p));

	printf("unbiased: %zu bytes, %s: %lu blocks, estimate %.0f, %+.1f deviations\n", size, what, blocks, samples / p, error / deviation);
	/* The distribution of a small number of samples, or of exceptions, is not quite normal. */
	CHECK(fabs(error) < 6 * deviation + 6, "the estimate is wrong");
}

int main(int argc, char **argv)
{
	struct sums sums = {0}, early = {0};
	pthread_t threads[THREADS];

	CHECK(argc == 2, "usage: unbiased PERIOD");
	period = strtoull(argv[1], NULL, 10);
	CHECK(test_start != NULL, "the library is not preloaded");
	CHECK(test_start(4096, false), "the sampler does not start");
	for (int i = 0; i < 1000; i++)
		free(keep(malloc(5000)));
	CHECK(test_each(put, &early) && early.totals.all_objects == 0, "something was sampled while the sampler was off");
	test_set(true);
	for (int i = 0; i < 1000; i++)
		free(keep(malloc(5000)));
	CHECK(test_each(put, &early) && early.totals.all_objects > 100, "nothing was sampled");
	test_period((uint64_t)1 << 40);
	CHECK(test_each(put, &early) && early.totals.all_objects == 0, "the change of the period left the profile as it was");
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, run, (void *)(i + 1)) == 0, "pthread_create");
	pthread_barrier_wait(&barrier);
	test_period(period);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	early = (struct sums){0};
	CHECK(test_each(put, &early), "no snapshot");
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK(test_each(put, &sums), "no snapshot");
	for (int k = 0; k < KINDS; k++) {
		check("all", kinds[k].size, sums.all[k], (uint64_t)THREADS * kinds[k].blocks);
		check("live", kinds[k].size, sums.live[k], kept_blocks[k]);
	}
	sums.summed.pcs = NULL;
	CHECK(sums.totals.live_objects == sums.summed.live_objects && sums.totals.live_bytes == sums.summed.live_bytes &&
		sums.totals.all_objects == sums.summed.all_objects && sums.totals.all_bytes == sums.summed.all_bytes,
		"the totals are not the sums of the stacks");
	return 0;
}
