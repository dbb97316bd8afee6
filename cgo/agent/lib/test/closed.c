/* What the agent records of libraries that a program opens and closes.
 * Usage: closed FIRST SECOND, two builds of closable.c. The second has no build-id. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "check.h"
#include "exports.h"

enum { FIRST = 1008, SECOND = 3008, ROUNDS = 200, THREADS = 4 };

typedef void *allocate_function(size_t n);

static void *open_library(const char *path, allocate_function **allocate)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	CHECK(handle != NULL, "%s", dlerror());
	*allocate = (allocate_function *)dlsym(handle, "library_allocate");
	CHECK(*allocate != NULL, "%s", dlerror());
	return handle;
}

static void allocate_in(const char *path, size_t n)
{
	allocate_function *allocate;
	void *handle = open_library(path, &allocate);

	for (int i = 0; i < 10; i++)
		CHECK(keep(allocate(n)) != NULL, "no memory");
	CHECK(dlclose(handle) == 0, "%s", dlerror());
	CHECK(dlopen(path, RTLD_NOW | RTLD_NOLOAD) == NULL, "%s cannot be closed", path);
}

static struct gojemalloc_library libraries[GOJEMALLOC_LIBRARIES];
static uintptr_t pcs[GOJEMALLOC_LIBRARIES][GOJEMALLOC_LIBRARY_PCS];
static unsigned pcs_len[GOJEMALLOC_LIBRARIES];

static unsigned read_libraries(void)
{
	unsigned len = test_libraries_len();

	for (unsigned i = 0; i < len; i++) {
		bool full = true;

		pcs_len[i] = test_libraries_get(i, &libraries[i], pcs[i], &full);
		CHECK(pcs_len[i] > 0 && !full, "library %u has %u addresses", i, pcs_len[i]);
		for (unsigned j = 0; j < pcs_len[i]; j++)
			CHECK(pcs[i][j] - 1 - libraries[i].start < libraries[i].limit - libraries[i].start,
				"%#lx is not in %#lx-%#lx", pcs[i][j], libraries[i].start, libraries[i].limit);
	}
	return len;
}

static bool has(unsigned i, uintptr_t pc)
{
	for (unsigned j = 0; j < pcs_len[i]; j++)
		if (pcs[i][j] == pc)
			return true;
	return false;
}

/* Each stack with blocks of one library has an address that was recorded for it. */
static unsigned stacks;

static bool check_stack(void *arg, const struct agent_stack *s)
{
	uint64_t size = s->live_objects > 0 ? s->live_bytes / s->live_objects : 0;

	(void)arg;
	if (s->pcs == NULL || (size != FIRST && size != SECOND))
		return true;
	CHECK(s->len > 2 && has(size == SECOND, s->pcs[1]), "a stack of %lu bytes is not of its library", size);
	stacks++;
	return true;
}

static char *const *paths;

static atomic_int failed;

/* Threads open, use and close the same libraries, so that a library is often closed by one
 * thread while another one is in it. */
static void *open_and_close(void *number)
{
	const char *path = paths[1 + (intptr_t)number % 2];

	for (int i = 0; i < ROUNDS; i++) {
		allocate_function *allocate;
		void *handle = open_library(path, &allocate), *p = keep(allocate(100));

		free(p);
		if (p == NULL || dlclose(handle) != 0)
			atomic_store(&failed, 1);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	unsigned len;

	CHECK(argc == 3 && test_start != NULL, "the library is not preloaded");
	CHECK(test_start(1, true), "the sampler does not start");
	paths = argv;
	free(keep(malloc(100)));
	CHECK(test_libraries_len() == 0, "a library of the program's start is recorded");
	allocate_in(argv[1], FIRST);
	allocate_in(argv[2], SECOND);
	CHECK((len = read_libraries()) == 2, "%u libraries are recorded", len);
	for (unsigned i = 0; i < 2; i++)
		CHECK(strcmp(libraries[i].path, argv[1 + i]) == 0, "%s is recorded as %s", argv[1 + i], libraries[i].path);
	CHECK(libraries[0].build_id_len == 20 && libraries[0].headers == 0, "its build-id has %u bytes", libraries[0].build_id_len);
	CHECK(libraries[1].build_id_len == 0 && libraries[1].headers != 0, "it has a build-id of %u bytes", libraries[1].build_id_len);
	CHECK(test_each(check_stack, NULL) && stacks == 2, "%u stacks", stacks);

	for (intptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, open_and_close, (void *)i) == 0, "no thread");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK(!atomic_load(&failed), "a thread has failed");
	len = read_libraries();
	for (unsigned i = 0; i < len; i++)
		CHECK(strcmp(libraries[i].path, argv[1]) == 0 || strcmp(libraries[i].path, argv[2]) == 0, "%s is recorded", libraries[i].path);
	printf("closed: the second library %s the first\n", libraries[0].start == libraries[1].start ? "had the place of" : "was at another place than");
	return 0;
}
