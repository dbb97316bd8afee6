#define _GNU_SOURCE
#include "stress.h"

#include <alloca.h>
#include <pthread.h>
#include <stdlib.h>

/* Each function has a section of its own. The linker defines symbols for the start and the
 * end of each section. So the program knows the range of each function even when it is
 * stripped, and tells it to the test. */
#define TRACED(name) __attribute__((noinline, noclone, section(#name "_code"))) name

/* Exported by callback.go. */
extern void goBack(uint8_t *rest, struct st_end *end);

/* Functions write to after_call after a call, so that it is not a tail call and they keep
 * their frame. */
static volatile int after_call;

/* Blocks that live on. A block is freed by the thread that needs its slot, so most are
 * freed by another thread than the one that allocated them. */
enum { SLOTS = 1 << 11 };
static _Atomic(uint32_t *) kept[SLOTS];
static _Atomic uint32_t next_slot;

static void finish(void *block, const struct st_end *end)
{
	uint32_t *volatile b = block;

	if (b == NULL)
		abort();
	*b = end->plan;
	if (end->keep)
		b = __atomic_exchange_n(&kept[__atomic_fetch_add(&next_slot, 1, __ATOMIC_RELAXED) % SLOTS], b, __ATOMIC_ACQ_REL);
	free(b);
}

static void TRACED(st_leaf_malloc)(const struct st_end *end)
{
	finish(malloc(end->n), end);
	after_call = 1;
}

static void TRACED(st_leaf_calloc)(const struct st_end *end)
{
	finish(calloc(end->n / 4, 4), end);
	after_call = 2;
}

static void TRACED(st_leaf_realloc)(const struct st_end *end)
{
	void *volatile block = malloc(8);
	finish(realloc(block, end->n), end);
	after_call = 3;
}

static void TRACED(st_leaf_posix_memalign)(const struct st_end *end)
{
	void *block;
	finish(posix_memalign(&block, 64, end->n) == 0 ? block : NULL, end);
	after_call = 4;
}

static void TRACED(st_leaf_aligned_alloc)(const struct st_end *end)
{
	finish(aligned_alloc(64, end->n), end);
	after_call = 5;
}

static void innermost(const uint8_t *rest, const struct st_end *end)
{
	static void (*const leaves[LEAVES])(const struct st_end *) = {
		st_leaf_malloc, st_leaf_calloc, st_leaf_realloc, st_leaf_posix_memalign, st_leaf_aligned_alloc,
	};

	if (rest != NULL)
		goBack((uint8_t *)rest, (struct st_end *)end);
	else
		leaves[end->leaf](end);
}

/* What the comparison of qsort needs, which has no argument of its own. */
static __thread struct {
	const uint8_t *rest;
	const struct st_end *end;
} comparing;

static int TRACED(st_compare)(const void *a, const void *b)
{
	const struct st_end *end = comparing.end;

	if (end != NULL) { /* the first comparison */
		comparing.end = NULL;
		innermost(comparing.rest, end);
	}
	after_call = 6;
	return *(const int *)a - *(const int *)b;
}

static void TRACED(st_sort)(const uint8_t *rest, const struct st_end *end)
{
	int numbers[] = {3, 1, 2};

	comparing.rest = rest;
	comparing.end = end;
	qsort(numbers, 3, sizeof numbers[0], st_compare);
	after_call = 7;
}

/* The compiler does not know the size of this function's frame. So an unwinder needs a
 * callee-saved register to find the caller. */
static void TRACED(st_down)(int kind, int depth, const uint8_t *rest, const struct st_end *end)
{
	*(volatile char *)alloca(16 + end->n % 64) = 1;
	if (depth > 0)
		st_down(kind, depth - 1, rest, end);
	else if (kind == C_SORT)
		st_sort(rest, end);
	else
		innermost(rest, end);
	after_call = 8;
}

void TRACED(st_hop)(int kind, int depth, const uint8_t *rest, const struct st_end *end)
{
	st_down(kind, depth, rest, end);
	after_call = 9;
}

struct job {
	const uint8_t *steps;
	const struct st_end *end;
};

static void *TRACED(st_thread_main)(void *arg)
{
	struct job *job = arg;
	st_hop(C_PLAIN, 0, job->steps, job->end);
	after_call = 10;
	return NULL;
}

int st_thread(const uint8_t *steps, const struct st_end *end)
{
	struct job job = {steps, end};
	pthread_t thread;
	int err = pthread_create(&thread, NULL, st_thread_main, &job);
	return err != 0 ? err : pthread_join(thread, NULL);
}

void st_live(uint64_t *live, uint32_t plans)
{
	for (uint32_t i = 0; i < plans; i++)
		live[i] = 0;
	for (int i = 0; i < SLOTS; i++)
		if (kept[i] != NULL)
			live[*kept[i]]++;
}

const char *st_function(int i, uintptr_t *start, uintptr_t *end)
{
#define FUNCTION(name)                                                                         \
	{                                                                                          \
		extern const char __start_##name##_code[], __stop_##name##_code[];                     \
		if (i-- == 0) {                                                                        \
			*start = (uintptr_t)__start_##name##_code, *end = (uintptr_t)__stop_##name##_code; \
			return #name;                                                                      \
		}                                                                                      \
	}
	FUNCTION(st_leaf_malloc)
	FUNCTION(st_leaf_calloc)
	FUNCTION(st_leaf_realloc)
	FUNCTION(st_leaf_posix_memalign)
	FUNCTION(st_leaf_aligned_alloc)
	FUNCTION(st_compare)
	FUNCTION(st_sort)
	FUNCTION(st_down)
	FUNCTION(st_hop)
	FUNCTION(st_thread_main)
	return NULL;
}
