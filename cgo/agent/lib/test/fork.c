/* Forks while other threads allocate. The children have to be able to allocate and free. Fork
 * handlers of the program, which run while the agent's locks are held, allocate too.
 * Argument: the period. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "check.h"
#include "exports.h"

enum { THREADS = 4, FORKS = 300, BLOCKS = 200 };

static atomic_bool stop;

static void churn(void *blocks[], uint64_t *random, int steps)
{
	for (int i = 0; i < steps; i++) {
		void **block = &blocks[next_random(random) % BLOCKS];

		free(*block);
		*block = keep(malloc(next_random(random) % 3000));
		CHECK(*block != NULL, "malloc");
	}
}

static void *run(void *seed)
{
	uint64_t random = (uintptr_t)seed;
	void *blocks[BLOCKS] = {0};

	while (!atomic_load(&stop))
		churn(blocks, &random, 100);
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	return NULL;
}

static void *from_handler;

static void handler(void)
{
	free(from_handler);
	from_handler = keep(malloc(100));
}

/* Handlers that are registered before the agent's run while the agent holds its locks. The
 * agent registers its own in the first allocation. This runs before the constructors. It is
 * optional, because jemalloc itself does not permit allocations in such handlers. */
static void early(void)
{
	if (getenv("TEST_EARLY") != NULL)
		pthread_atfork(handler, handler, handler);
}
static void (*const before_constructors)(void) __attribute__((section(".preinit_array"), used)) = early;

int main(int argc, char **argv)
{
	static void *blocks[BLOCKS];
	pthread_t threads[THREADS];
	uint64_t random = 99;
	struct agent_stats stats;

	CHECK(argc == 2, "usage: fork PERIOD");
	CHECK(test_start != NULL, "the library is not preloaded");
	pthread_atfork(handler, handler, handler);
	CHECK(test_start(strtoull(argv[1], NULL, 10), true), "the sampler does not start");
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, run, (void *)(i + 1)) == 0, "pthread_create");
	for (int i = 0; i < FORKS; i++) {
		int status;
		pid_t child;

		churn(blocks, &random, 100);
		child = fork();
		CHECK(child >= 0, "fork");
		if (child == 0) {
			alarm(20); /* ends a child that hangs */
			churn(blocks, &random, 1000);
			test_stats(&stats);
			CHECK(stats.live_objects > 0, "nothing is live in the child");
			_exit(42);
		}
		CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 42, "child %d of %d ended with status %#x", i, FORKS, status);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("fork: %d children\n", FORKS);
	return 0;
}
