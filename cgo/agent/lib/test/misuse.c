/* What a program does wrong with sampled blocks ends it, as malloc would do it. And the ways to
 * free a block that C23 has added, by which a program may come past the agent. */
#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "check.h"
#include "exports.h"

enum { SIZE = 100 };

/* Another block of the same span stays in use. */
static void second_free(void)
{
	char *p = keep(malloc(SIZE));

	keep(malloc(SIZE));
	free(p);
	free(keep(p));
}

static void second_free_of_last(void)
{
	char *p = keep(malloc(30000));

	free(p);
	free(keep(p));
}

/* The pages of the block have gone back to the kernel. */
static void second_free_after_release(void)
{
	enum { BLOCKS = 200, LARGE = 30000 };
	char *p[BLOCKS];

	for (int i = 0; i < BLOCKS; i++)
		p[i] = keep(malloc(LARGE));
	for (int i = 0; i < BLOCKS; i++)
		free(p[i]);
	free(keep(p[BLOCKS - 10]));
}

static void free_inside(void)
{
	char *p = keep(malloc(SIZE));

	free(keep(p + 16));
}

static void free_unused(void)
{
	char *p = keep(malloc(SIZE));

	free(keep(p + 64 * 112)); /* a later slot of the same size */
}

/* A block's contents may be what they were when it was free. */
static void no_misuse(void)
{
	char *p = keep(malloc(SIZE)), copy[SIZE];

	free(p);
	memcpy(copy, keep(p), SIZE);
	CHECK(keep(malloc(SIZE)) == p, "the slot is not used again");
	free(p);
	p = keep(calloc(1, SIZE));
	for (int i = 0; i < SIZE; i++)
		CHECK(p[i] == 0, "byte %d of a block of calloc is %d", i, p[i]);
	free(p);
	exit(0);
}

static void free_by_size(void)
{
	void (*sized)(void *, size_t) = dlsym(RTLD_DEFAULT, "free_sized");
	void (*aligned)(void *, size_t, size_t) = dlsym(RTLD_DEFAULT, "free_aligned_sized");
	struct agent_stats before, after;
	void *p = keep(malloc(SIZE)), *q = keep(aligned_alloc(64, SIZE * 64));

	CHECK(sized != NULL && aligned != NULL, "the agent has no free_sized or free_aligned_sized");
	test_stats(&before);
	sized(p, SIZE);
	aligned(q, 64, SIZE * 64);
	test_stats(&after);
	CHECK(after.live_objects == before.live_objects - 2, "%lu blocks were freed", before.live_objects - after.live_objects);
	exit(0);
}

/* Runs a function in a child. want is what the child says when a signal ends it, or NULL if it
 * exits with 0. */
static void run(const char *name, void (*misuse)(void), const char *want)
{
	char text[200] = "";
	int out[2], status;
	ssize_t n;
	pid_t child;

	CHECK(pipe(out) == 0, "pipe");
	child = fork();
	CHECK(child >= 0, "fork");
	if (child == 0) {
		if (want != NULL)
			dup2(out[1], 2);
		misuse();
		_exit(1);
	}
	close(out[1]);
	n = read(out[0], text, sizeof text - 1);
	close(out[0]);
	CHECK(waitpid(child, &status, 0) == child, "waitpid");
	if (want == NULL) {
		CHECK(status == 0, "%s: status %#x", name, status);
		return;
	}
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s: status %#x", name, status);
	CHECK(n > 0 && strcmp(text, want) == 0, "%s: it says %s", name, text);
}

int main(void)
{
	CHECK(test_start != NULL, "the library is not preloaded");
	CHECK(test_start(1, true), "the sampler does not start");
#define RUN(function, want) run(#function, function, want)
	RUN(second_free, "free(): double free detected\n");
	RUN(second_free_of_last, "free(): double free detected\n");
	RUN(second_free_after_release, "free(): double free detected\n");
	RUN(free_inside, "free(): invalid pointer\n");
	RUN(free_unused, "free(): invalid pointer\n");
	RUN(no_misuse, NULL);
	RUN(free_by_size, NULL);
	printf("misuse: noticed\n");
	return 0;
}
