/* Eight threads allocate, reallocate and free each other's blocks and check their contents. If
 * the period is 1, the sampler's counts have to be exactly right at the end.
 * If it is 0, main changes the period and switches the sampler on and off meanwhile.
 * Arguments: the period, and the name of the library whose malloc is behind the agent. */
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "check.h"
#include "exports.h"

enum { THREADS = 8, SLOTS = 4096, STEPS = 60000, SIZES = 256 };

static size_t sizes[SIZES];
static _Atomic uint64_t slots[SLOTS]; /* the block and, above bit 48, which of the sizes it has */
static pthread_barrier_t barrier;
static _Atomic uint64_t allocated, allocated_bytes;

static unsigned char pattern(unsigned size, size_t i) { return (unsigned char)(size * 7 + i * 13 + 1); }

static void fill(unsigned char *p, unsigned size)
{
	for (size_t i = 0; i < sizes[size]; i += i < 64 ? 1 : 509)
		p[i] = pattern(size, i);
}

static void verify(const unsigned char *p, unsigned size, size_t n)
{
	for (size_t i = 0; i < n; i += i < 64 ? 1 : 509)
		CHECK(p[i] == pattern(size, i), "byte %zu of %zu at %p has changed", i, sizes[size], (const void *)p);
}

static void *allocate(unsigned kind, size_t n, size_t alignment)
{
	void *p = NULL;

	switch (kind) {
	case 0: p = memalign(alignment, n); break;
	case 1: p = aligned_alloc(alignment, n); break;
	case 2: CHECK(posix_memalign(&p, alignment, n) == 0, "posix_memalign"); break;
	case 3: p = valloc(n), alignment = 4096; break;
	case 4:
	case 5:
	case 6:
		p = calloc(n == 0 ? 1 : n, n == 0 ? 0 : 1), alignment = n >= 16 ? 16 : 8;
		for (size_t i = 0; i < n; i++)
			CHECK(((char *)p)[i] == 0, "byte %zu of %zu from calloc is not 0", i, n);
		break;
	default: p = malloc(n), alignment = n >= 16 ? 16 : 8; break;
	}
	CHECK(p != NULL, "an allocation of %zu bytes", n);
	if (n > 0) /* jemalloc ignores the alignment of 0 bytes */
		CHECK((uintptr_t)p % alignment == 0, "%p of %zu bytes, kind %u, is not aligned to %zu", p, n, kind, alignment);
	return p;
}

static void step(uint64_t *random)
{
	uint64_t r = next_random(random), old, new = 0;
	unsigned size = r % SIZES, old_size;
	_Atomic uint64_t *slot = &slots[(r >> 8) % SLOTS];
	unsigned char *p;

	old = atomic_exchange(slot, 0);
	p = (unsigned char *)(old & 0xffffffffffff);
	old_size = old >> 48;
	if (p != NULL)
		verify(p, old_size, sizes[old_size]);
	if ((r >> 32) % 4 == 0 && sizes[size] != 0) {
		size_t common = p == NULL ? 0 : sizes[old_size] < sizes[size] ? sizes[old_size] : sizes[size];

		p = realloc(p, sizes[size]);
		CHECK(p != NULL, "realloc to %zu bytes", sizes[size]);
		verify(p, old_size, common);
	} else {
		free(p);
		if ((r >> 34) % 4 == 0)
			return;
		p = allocate((r >> 36) % 12, sizes[size], (size_t)16 << (r >> 40) % 10);
	}
	fill(p, size);
	atomic_fetch_add(&allocated, 1);
	atomic_fetch_add(&allocated_bytes, weight(sizes[size]));
	new = (uint64_t)(uintptr_t)p | (uint64_t)size << 48;
	old = atomic_exchange(slot, new);
	free((void *)(old & 0xffffffffffff));
}

static void *run(void *seed)
{
	uint64_t random = (uintptr_t)seed * 0x9e3779b97f4a7c15u;

	pthread_barrier_wait(&barrier); /* main reads the counts */
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < STEPS; i++)
		step(&random);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier); /* main reads the counts */
	return NULL;
}

/* ---- changes meanwhile ---- */

static bool add(void *arg, const struct agent_stack *s)
{
	struct agent_stack *left = arg;

	if (s->pcs == NULL) {
		*left = *s;
		return true;
	}
	left->live_objects -= s->live_objects;
	left->live_bytes -= s->live_bytes;
	left->all_objects -= s->all_objects;
	left->all_bytes -= s->all_bytes;
	CHECK(s->live_objects <= s->all_objects && s->live_bytes <= s->all_bytes, "%lu of %lu objects are live", s->live_objects, s->all_objects);
	return true;
}

static void check_snapshot(void)
{
	struct agent_stack left;

	CHECK(test_each(add, &left), "no snapshot");
	CHECK(left.live_objects == 0 && left.live_bytes == 0 && left.all_objects == 0 && left.all_bytes == 0, "the totals are not the sums of the stacks");
}

static void change(void)
{
	uint64_t random = 77, samples = 0;

	for (int i = 0; i < 2000; i++) {
		struct agent_stats stats;
		uint64_t r = next_random(&random);

		if (r % 4 == 0)
			test_period((uint64_t)1 << (r >> 8) % 16);
		test_set((r >> 16) % 4 != 0);
		check_snapshot();
		test_stats(&stats);
		samples += stats.all_objects;
	}
	CHECK(samples > 0, "nothing was sampled");
	test_set(false);
}

int main(int argc, char **argv)
{
	uint64_t period = strtoull(argv[1], NULL, 10), random = 1, live = 0, live_bytes = 0;
	struct agent_stats before, after, end;
	pthread_t threads[THREADS];

	CHECK(argc == 3, "usage: hammer PERIOD LIBRARY");
	CHECK(test_start != NULL, "the library is not preloaded");
	CHECK(strstr(test_real_path(), argv[2]) != NULL, "the real malloc is that of %s", test_real_path());
	for (int i = 0; i < SIZES; i++)
		sizes[i] = i < 16 ? (size_t)i : next_random(&random) % (i < 200 ? 600 : i < 250 ? 20000 : 300000);
	CHECK(test_start(period, true), "the sampler does not start");
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, run, (void *)(i + 1)) == 0, "pthread_create");
	pthread_barrier_wait(&barrier);
	test_stats(&before);
	pthread_barrier_wait(&barrier);
	if (period == 0)
		change();
	pthread_barrier_wait(&barrier);
	test_stats(&after);
	for (int i = 0; i < SLOTS; i++) {
		uint64_t slot = atomic_exchange(&slots[i], 0);

		if (slot == 0)
			continue;
		live++;
		live_bytes += weight(sizes[slot >> 48]);
		verify((unsigned char *)(slot & 0xffffffffffff), slot >> 48, sizes[slot >> 48]);
		free((void *)(slot & 0xffffffffffff));
	}
	test_stats(&end);
	CHECK(after.missed == 0, "%lu samples were missed", after.missed);
	check_snapshot();
	if (period > 0)
		CHECK(after.all_objects > before.all_objects, "nothing was sampled");
	if (period == 1) {
		CHECK(after.live_objects - before.live_objects == live, "%lu, not %lu live objects", after.live_objects - before.live_objects, live);
		CHECK(after.live_bytes - before.live_bytes == live_bytes, "%lu, not %lu live bytes", after.live_bytes - before.live_bytes, live_bytes);
		CHECK(after.all_objects - before.all_objects == allocated, "%lu, not %lu objects", after.all_objects - before.all_objects, allocated);
		CHECK(after.all_bytes - before.all_bytes == allocated_bytes, "%lu, not %lu bytes", after.all_bytes - before.all_bytes, allocated_bytes);
	}
	if (period == 0) {
		/* Blocks of libc may be live still. */
		CHECK(end.live_objects <= 2 * THREADS, "%lu live objects at the end", end.live_objects);
		before = end;
	}
	CHECK(end.live_objects == before.live_objects, "%lu, not %lu live objects at the end", end.live_objects, before.live_objects);
	CHECK(end.live_bytes == before.live_bytes, "%lu, not %lu live bytes at the end", end.live_bytes, before.live_bytes);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("hammer %s %s: %lu samples, %lu stacks\n", argv[1], argv[2], after.all_objects, after.stacks);
	return 0;
}
