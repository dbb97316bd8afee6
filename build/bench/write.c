//go:build ignore
/*
 * The writer whose changes are seen by magellan's clients and by watch.c: a plain
 * C program on libzookeeper_mt. For each line of its standard input, a path and
 * a value, it sets the znode, and when that is acknowledged writes a line with
 * the time, in nanoseconds of CLOCK_MONOTONIC. It goes on until its input ends.
 * (The first line keeps go build from taking this file for cgo's.)
 *
 *   write HOST:PORT
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zookeeper/zookeeper.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int connected;

static void on_session(zhandle_t *h, int type, int state, const char *path, void *context)
{
	(void)h, (void)type, (void)path, (void)context;
	pthread_mutex_lock(&mutex);
	connected = state == ZOO_CONNECTED_STATE;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

int main(int argc, char **argv)
{
	static char line[4096];

	if (argc != 2) {
		fprintf(stderr, "usage: write HOST:PORT\n");
		return 2;
	}
	zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
	zhandle_t *handle = zookeeper_init(argv[1], on_session, 30000, NULL, NULL, 0);
	if (!handle) {
		perror("zookeeper_init");
		return 1;
	}
	zoo_set_servers_resolution_delay(handle, 10000); /* as in watch.c */
	pthread_mutex_lock(&mutex);
	while (!connected)
		pthread_cond_wait(&changed, &mutex);
	pthread_mutex_unlock(&mutex);

	while (fgets(line, sizeof line, stdin)) {
		struct timespec t;

		line[strcspn(line, "\n")] = 0;
		char *value = strchr(line, ' ');
		if (!value) {
			fprintf(stderr, "write: no value: %s\n", line);
			return 1;
		}
		*value++ = 0;
		int rc = zoo_set(handle, line, value, (int)strlen(value), -1);
		clock_gettime(CLOCK_MONOTONIC, &t);
		if (rc != ZOK) {
			fprintf(stderr, "write: %s: %s\n", line, zerror(rc));
			return 1;
		}
		printf("%lld\n", t.tv_sec * 1000000000LL + t.tv_nsec);
		fflush(stdout);
	}
	return zookeeper_close(handle) == ZOK ? 0 : 1;
}
