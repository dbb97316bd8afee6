/* Compares the interposed functions with the real ones, where a program can tell the
 * difference: errors, errno, alignment, empty blocks, huge blocks, contents. Every allocation
 * is sampled. Argument: the name of the library whose malloc is behind the agent. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "check.h"
#include "exports.h"

static struct functions {
	void *(*malloc)(size_t);
	void *(*calloc)(size_t, size_t);
	void *(*realloc)(void *, size_t);
	void *(*reallocarray)(void *, size_t, size_t);
	void (*free)(void *);
	void *(*memalign)(size_t, size_t);
	void *(*aligned_alloc)(size_t, size_t);
	int (*posix_memalign)(void **, size_t, size_t);
	void *(*valloc)(size_t);
	void *(*pvalloc)(size_t);
} real, ours = {malloc, calloc, realloc, reallocarray, free, memalign, aligned_alloc, posix_memalign, valloc, pvalloc};

/* NULL if the library gets the function from another library. */
static void *find(void *handle, const char *library, const char *name)
{
	void *function = dlsym(handle, name);
	Dl_info info;

	return function != NULL && dladdr(function, &info) != 0 && strstr(info.dli_fname, library) != NULL ? function : NULL;
}

static void find_real(const char *library)
{
	void *handle = dlopen(library, RTLD_NOW | RTLD_NOLOAD);

	CHECK(handle != NULL, "%s is not loaded", library);
#define FIND(name) *(void **)&real.name = find(handle, library, #name)
	FIND(malloc), FIND(calloc), FIND(realloc), FIND(reallocarray), FIND(free), FIND(memalign);
	FIND(aligned_alloc), FIND(posix_memalign), FIND(valloc), FIND(pvalloc);
	CHECK(real.malloc != NULL && real.malloc != malloc, "malloc of %s", library);
}

/* The outcome of a call: whether there is a block, and errno. */
struct outcome {
	void *p;
	int err;
};

#define TRY(call) ({ errno = 4711; void *p_ = keep(call); (struct outcome){p_, errno}; })
#define SAME(call_real, call_ours) SAME_FREED(real.free, call_real, call_ours)
#define SAME_FREED(free_real, call_real, call_ours)                                                              \
	do {                                                                                    \
		struct outcome r = TRY(call_real), o = TRY(call_ours);                          \
		CHECK((r.p == NULL) == (o.p == NULL), "%p, but the real one %p", o.p, r.p);     \
		CHECK(r.err == o.err || (o.p == NULL && o.err == ENOMEM), "errno is %d, but that of the real one %d", o.err, r.err); \
		free_real(r.p);                                                                 \
		free(o.p);                                                                      \
	} while (0)
#define COMPARE(function, ...) SAME(real.function(__VA_ARGS__), ours.function(__VA_ARGS__))

static void check_errors(void)
{
	static const size_t sizes[] = {0, 1, 15, 16, 17, 4095, 4096, 4097, 200000, PTRDIFF_MAX - 4096, PTRDIFF_MAX,
		(size_t)PTRDIFF_MAX + 1, SIZE_MAX - 4096, SIZE_MAX - 15, SIZE_MAX - 14, SIZE_MAX - 1, SIZE_MAX};
	static const size_t alignments[] = {0, 1, 2, 3, 8, 16, 24, 64, 100, 4096, 5000, 8192, 1 << 20, SIZE_MAX / 2 + 1, SIZE_MAX};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		size_t n = sizes[i];

		COMPARE(malloc, n);
		COMPARE(calloc, 1, n);
		COMPARE(calloc, n, 2);
		COMPARE(calloc, n, n);
		COMPARE(realloc, NULL, n);
		SAME(real.realloc(real.malloc(100), n > 0 ? n : 1), realloc(malloc(100), n > 0 ? n : 1)); /* leaks if it fails */
		COMPARE(valloc, n);
		if (real.pvalloc != NULL)
			COMPARE(pvalloc, n);
		if (real.reallocarray != NULL) {
			/* The real one calls realloc, which is ours. */
			SAME_FREED(free, real.reallocarray(NULL, n, 3), reallocarray(NULL, n, 3));
			SAME_FREED(free, real.reallocarray(NULL, n, n), reallocarray(NULL, n, n));
		}
		for (size_t k = 0; k < sizeof alignments / sizeof *alignments; k++) {
			size_t a = alignments[k];
			void *r = (void *)1, *o = (void *)1;
			int r_err, o_err, r_errno;

			if (a > 1 << 20 && strstr(test_real_path(), "jemalloc") != NULL)
				continue; /* undefined there */
			if ((a & (a - 1)) == 0 && a >= 8) { /* otherwise undefined for jemalloc */
				COMPARE(memalign, a, n);
				COMPARE(aligned_alloc, a, n);
			}
			errno = 4711, r_err = real.posix_memalign(&r, a, n), r_errno = errno;
			errno = 4711, o_err = posix_memalign(&o, a, n);
			CHECK(r_err == o_err, "posix_memalign(%zu, %zu) is %d, but the real one %d", a, n, o_err, r_err);
			CHECK(errno == r_errno, "posix_memalign(%zu, %zu) set errno to %d, the real one to %d", a, n, errno, r_errno);
			CHECK(o_err == 0 || (r == (void *)1) == (o == (void *)1), "posix_memalign failed and set the pointer");
			if (o_err == 0) {
				real.free(r);
				free(o);
			}
		}
	}
	errno = 4711;
	free(NULL);
	free(keep(malloc(300000)));
	free(keep(malloc(10)));
	CHECK(errno == 4711, "free set errno to %d", errno);
}

static uint64_t live(void)
{
	struct agent_stats stats;

	test_stats(&stats);
	return stats.live_objects;
}

static void check_realloc(void)
{
	uint64_t before = live();
	char *p = malloc(100), *q;
	void *r_zero = real.realloc(real.malloc(100), 0), *o_zero;

	CHECK(live() == before + 1, "malloc was not sampled");
	memset(p, 7, 100);
	CHECK(realloc(p, PTRDIFF_MAX) == NULL, "realloc to PTRDIFF_MAX");
	CHECK(live() == before + 1, "after a realloc that failed, there are %lu more live objects, not 1", live() - before);
	q = realloc(p, 1000);
	for (int i = 0; i < 100; i++)
		CHECK(q[i] == 7, "byte %d has changed", i);
	CHECK(live() == before + 1, "after realloc, there are %lu more live objects, not 1", live() - before);
	o_zero = realloc(q, 0);
	CHECK((r_zero == NULL) == (o_zero == NULL), "realloc to 0 bytes is %p, but the real one %p", o_zero, r_zero);
	CHECK(live() == before + (o_zero != NULL), "after realloc to 0 bytes, %lu more live objects", live() - before);
	free(o_zero);
	real.free(r_zero);
	p = malloc(0), q = malloc(0);
	CHECK(p != NULL && q != NULL && p != q, "malloc(0) gives %p and %p", (void *)p, (void *)q);
	CHECK(live() == before + 2, "malloc(0) was not sampled");
	free(p), free(q);
	CHECK(live() == before, "malloc(0) is still live");
	for (size_t n = 0; n < 300000; n = n * 2 + 7) {
		p = malloc(n);
		CHECK(malloc_usable_size(p) >= n, "the usable size of %zu bytes is %zu", n, malloc_usable_size(p));
		memset(p, 1, malloc_usable_size(p));
		free(p);
	}
	p = malloc(300000);
	real.free(p); /* a way that the agent does not see, as some programs have for large blocks */
	q = malloc(300000);
	CHECK(live() == before + 1 + (p != q), "%lu more live objects, after a block was freed behind the agent's back", live() - before);
	free(q);
}

/* Huge blocks stay as they are: untouched pages are not resident, and moves copy nothing. */
static void check_huge(void)
{
	enum { MIB = 1 << 20 };
	size_t n = (size_t)1 << 30;
	long before = resident();
	char *p = calloc(1, n);

	CHECK(p != NULL, "calloc of 1 GiB");
	CHECK(resident() - before < 8 * MIB, "calloc of 1 GiB made %ld MiB resident", (resident() - before) / MIB);
	p[0] = p[n / 2] = p[n - 1] = 1;
	p = realloc(p, n + n / 2);
	CHECK(p != NULL && p[0] == 1 && p[n / 2] == 1 && p[n - 1] == 1 && p[n / 2 + 1] == 0, "the contents after realloc of 1 GiB");
	CHECK(resident() - before < 16 * MIB, "realloc of 1 GiB made %ld MiB resident", (resident() - before) / MIB);
	free(p);
	CHECK(resident() - before < 16 * MIB, "%ld MiB are still resident", (resident() - before) / MIB);

	/* Dirty memory that is used again has to be zero. */
	for (size_t size = 1000; size < 20 * MIB; size = size * 3 + 11) {
		p = malloc(size);
		memset(p, 0xff, size);
		free(p);
		p = calloc(size, 1);
		for (size_t i = 0; i < size; i++)
			CHECK(p[i] == 0, "byte %zu of %zu from calloc is not 0", i, size);
		p[size - 1] = 1;
		p = realloc(p, size * 2);
		CHECK(p[0] == 0 && p[size - 2] == 0 && p[size - 1] == 1, "the contents after realloc of %zu bytes", size);
		free(p);
	}
}

/* The memory of small blocks that were freed goes back to the kernel, but for a little. */
static void check_given_back(void)
{
	enum { BLOCKS = 20000, SIZE = 1000, MIB = 1 << 20 };
	static char *blocks[BLOCKS];
	long before = resident();

	for (int i = 0; i < BLOCKS; i++) {
		blocks[i] = keep(malloc(SIZE));
		memset(blocks[i], 1, SIZE);
	}
	CHECK(resident() - before > BLOCKS * SIZE / 2, "%d blocks made only %ld MiB resident", BLOCKS, (resident() - before) / MIB);
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	CHECK(resident() - before < 8 * MIB, "%ld MiB are still resident", (resident() - before) / MIB);
}

/* Each stack begins in the process's own function of the interposed one's name, and the
 * caller comes next. */
static bool check_stack(void *arg, const struct agent_stack *s)
{
	Dl_info info;

	if (s->pcs == NULL || s->len == 0)
		return true;
	CHECK(dladdr((void *)(s->pcs[0] - 1), &info) != 0 && info.dli_sname != NULL, "no symbol at %#lx", s->pcs[0]);
	CHECK(strstr("malloc __libc_malloc calloc __libc_calloc realloc __libc_realloc memalign __libc_memalign aligned_alloc posix_memalign valloc __libc_valloc pvalloc __libc_pvalloc", info.dli_sname) != NULL, "the innermost function is %s", info.dli_sname);
	CHECK(dladdr((void *)(s->pcs[0] - 1), &info) != 0 && strstr(info.dli_fname, "agent") == NULL, "the innermost frame is in %s", info.dli_fname);
	CHECK(s->len > 1 && dladdr((void *)(s->pcs[1] - 1), &info) != 0 && strstr(info.dli_fname, "agent") == NULL, "the caller is in %s", info.dli_fname);
	++*(int *)arg;
	return true;
}

/* Allocates until there is no more. The sampler may lose samples then, but nothing else. */
static void check_no_memory(void)
{
	struct rlimit old, limit;
	struct agent_stats stats;
	void **first = NULL;
	size_t n = 0, freed = 0;
	char line[256];
	long size = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, "VmSize:", 7) == 0)
			size = atol(line + 7) << 10;
	fclose(f);
	CHECK(size != 0 && getrlimit(RLIMIT_AS, &old) == 0, "getrlimit");
	limit = (struct rlimit){(rlim_t)size + (256 << 20), old.rlim_max};
	CHECK(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit");
	for (;;) {
		void **p = malloc(n % 7 == 0 ? 100000 : 500);

		if (p == NULL)
			break;
		*p = first;
		first = p;
		n++;
	}
	CHECK(errno == ENOMEM, "errno is %d", errno);
	while (first != NULL) {
		void **next = *first;

		free(first);
		first = next;
		freed++;
	}
	CHECK(n == freed && n > 1000, "%zu blocks were allocated, %zu freed", n, freed);
	CHECK(setrlimit(RLIMIT_AS, &old) == 0, "setrlimit");
	free(keep(malloc(100)));
	test_stats(&stats);
	/* jemalloc may run out of memory before its memalign does. */
	CHECK(stats.missed > 0 || strstr(test_real_path(), "jemalloc") != NULL, "no sample was lost, so the test did not test that");
}

static bool ignore(void *arg, const struct agent_stack *s)
{
	(void)arg, (void)s;
	return true;
}

/* After a refusal samples do not ask the kernel for a while. A snapshot does. */
static void check_snapshot_after_refusal(void)
{
	CHECK(!test_map((size_t)1 << 60) && !test_map(1), "the kernel did not refuse, or was asked again");
	CHECK(test_each(ignore, NULL), "there is no snapshot, though there is memory");
}

int main(int argc, char **argv)
{
	struct agent_stats before, after;
	int stacks = 0;

	CHECK(argc == 2, "usage: semantics LIBRARY");
	CHECK(test_start != NULL, "the library is not preloaded");
	CHECK(strstr(test_real_path(), argv[1]) != NULL, "the real malloc is that of %s", test_real_path());
	find_real(argv[1]);
	CHECK(test_start(1, true), "the sampler does not start");
	test_stats(&before);
	free(keep(reallocarray(NULL, 3, 5)));
	test_stats(&after);
	CHECK(after.all_objects == before.all_objects + 1, "reallocarray was sampled %lu times", after.all_objects - before.all_objects);
	check_errors();
	check_realloc();
	check_huge();
	check_given_back();
	CHECK(test_each(check_stack, &stacks) && stacks > 10, "%d stacks", stacks);
	check_no_memory();
	check_snapshot_after_refusal();
	test_set(false);
	check_errors();
	printf("semantics: %s, %d stacks\n", argv[1], stacks);
	return 0;
}
