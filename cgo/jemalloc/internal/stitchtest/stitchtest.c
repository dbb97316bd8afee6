#define _GNU_SOURCE
#include "stitchtest.h"

#include <alloca.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* A section for each function: the linker makes symbols of where they start and
 * stop, so that a stripped program can still say which function an address is in. */
#define TRACED(name) __attribute__((noinline, noclone, section(#name "_code"))) name

/* Exported by callback.go. */
extern void stBack(uint8_t *rest, size_t n);

static void TRACED(st_leaf)(size_t n)
{
	void *volatile block = malloc(n); /* volatile: compilers know malloc, and drop it */
	free(block);
}

int TRACED(st_entries)(size_t n)
{
	void *volatile blocks[ST_ENTRIES] = {malloc(n), calloc(1, n), malloc(1), NULL, aligned_alloc(64, n), NULL};

	blocks[2] = realloc(blocks[2], n);
	blocks[3] = realloc(blocks[3], n);
	if (posix_memalign((void **)&blocks[5], 64, n) != 0)
		return -1;
	for (int i = 0; i < ST_ENTRIES; i++) {
		if (blocks[i] == NULL)
			return -1;
		free(blocks[i]);
	}
	return 0;
}

/* Not a tail call: what comes after it keeps the frame. */
static volatile int steps;

/* Its frame has no size the compiler knows, so that its caller is found by way of
 * a callee-saved register. */
static void TRACED(st_down)(int depth, const uint8_t *rest, size_t n)
{
	*(volatile char *)alloca(16 + n % 64) = 1;
	if (depth > 0)
		st_down(depth - 1, rest, n);
	else if (rest != NULL)
		stBack((uint8_t *)rest, n);
	else
		st_leaf(n);
	steps = depth;
}

void TRACED(st_hop)(int depth, const uint8_t *rest, size_t n)
{
	st_down(depth, rest, n);
	steps = -1;
}

struct job {
	const uint8_t *plan;
	size_t n;
};

static void *TRACED(st_thread_main)(void *arg)
{
	struct job *job = arg;
	st_hop(0, job->plan, job->n);
	steps = -2;
	return NULL;
}

int st_thread(const uint8_t *plan, size_t n)
{
	struct job job = {plan, n};
	pthread_t thread;
	int err = pthread_create(&thread, NULL, st_thread_main, &job);
	return err != 0 ? err : pthread_join(thread, NULL);
}

static int64_t thread_time(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int64_t st_many(size_t n, size_t count)
{
	int64_t start = thread_time();

	for (size_t i = 0; i < count; i++) {
		void *volatile block = malloc(n);
		free(block);
	}
	return thread_time() - start;
}

const char *st_function(int i, uintptr_t *start, uintptr_t *end)
{
#define FUNCTION(name)                                                   \
	{                                                                    \
		extern const char __start_##name##_code[], __stop_##name##_code[];             \
		if (i-- == 0) {                                                  \
			*start = (uintptr_t)__start_##name##_code, *end = (uintptr_t)__stop_##name##_code; \
			return #name;                                                \
		}                                                                \
	}
	FUNCTION(st_leaf)
	FUNCTION(st_entries)
	FUNCTION(st_down)
	FUNCTION(st_hop)
	FUNCTION(st_thread_main)
	return NULL;
}

const char *st_library_function(uintptr_t pc)
{
	Dl_info library, here;
	if (dladdr((void *)pc, &library) == 0 || dladdr((void *)st_many, &here) == 0 || library.dli_fbase == here.dli_fbase)
		return NULL;
	return library.dli_sname;
}
