#define _GNU_SOURCE
#include "stitchtest.h"

#include <alloca.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <ucontext.h>

/* Each function has a section of its own. The linker defines symbols for the start and the
 * end of each section. So the function of an address can be found even in a stripped
 * program. */
#define TRACED(name) __attribute__((noinline, noclone, section(#name "_code"))) name

/* Exported by callback.go. */
extern void stBack(uint8_t *rest, size_t n);

static void TRACED(st_leaf)(size_t n)
{
	void *volatile block = malloc(n); /* volatile, because compilers drop a malloc whose result is not used */
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

/* Functions write to steps after a call, so that it is not a tail call and they keep their
 * frame. */
static volatile int steps;

/* The compiler does not know the size of this function's frame. So an unwinder needs a
 * callee-saved register to find the caller. */
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

#if defined(__x86_64__)

/* The first instruction is invalid. */
__asm__(".pushsection st_trap_code, \"ax\", @progbits\n"
	".type st_trap, @function\n"
	"st_trap:\n"
	".cfi_startproc\n"
	"ud2\n"
	"ret\n"
	".cfi_endproc\n"
	".size st_trap, . - st_trap\n"
	".popsection");
extern void st_trap(void);

static size_t signal_size;

static void TRACED(st_handler)(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info;
	st_leaf(signal_size);
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2; /* skip the invalid instruction */
}

int TRACED(st_signal)(size_t n)
{
	struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK}, before;

	signal_size = n;
	action.sa_sigaction = st_handler;
	if (sigaction(SIGILL, &action, &before) != 0)
		return 0;
	st_trap();
	sigaction(SIGILL, &before, NULL);
	return 1;
}

#else
int st_signal(size_t n) { return n == 0; }
#endif

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
#if defined(__x86_64__)
	FUNCTION(st_trap)
	FUNCTION(st_handler)
	FUNCTION(st_signal)
#endif
	return NULL;
}

const char *st_library_function(uintptr_t pc)
{
	Dl_info library, here;
	if (dladdr((void *)pc, &library) == 0 || dladdr((void *)st_many, &here) == 0 || library.dli_fbase == here.dli_fbase)
		return NULL;
	return library.dli_sname;
}
