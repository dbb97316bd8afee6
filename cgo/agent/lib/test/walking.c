/* Forks while other threads walk their stacks all the time. With a C library whose list of
 * objects has a lock, a child would wait for a thread that it does not have. */
#include <pthread.h>
#include <sys/wait.h>

#include "check.h"
#include "exports.h"

enum { THREADS = 4, FORKS = 200 };

static void *allocate(void *unused)
{
	for (;;)
		free(keep(malloc(50)));
	return unused;
}

int main(void)
{
	pthread_t thread;

	CHECK(test_start != NULL, "the library is not preloaded");
	CHECK(test_start(1, true), "the sampler does not start");
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&thread, NULL, allocate, NULL) == 0, "pthread_create");
	for (int i = 0; i < FORKS; i++) {
		pid_t child = fork();
		int status;

		CHECK(child >= 0, "fork");
		if (child == 0) {
			alarm(20); /* ends a child that hangs */
			test_set(true);
			for (int j = 0; j < 50; j++)
				free(keep(malloc(60)));
			_exit(0);
		}
		CHECK(waitpid(child, &status, 0) == child && status == 0, "child %d of %d ended with status %#x", i, FORKS, status);
	}
	printf("walking: %d children\n", FORKS);
	fflush(stdout);
	_exit(0);
}
