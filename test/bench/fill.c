//go:build ignore
/*
 * The client that the cold fill is compared with: what a plain C program on
 * libzookeeper_mt does. It reads and watches each znode of a list once, with a
 * fixed number of requests in flight, and says how long that took.
 * (The first line keeps go build from taking this file for cgo's.)
 *
 *   fill HOST:PORT FILE-OF-PATHS IN-FLIGHT
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <zookeeper/zookeeper_version.h>

#include "paths.h"
#include "session.h"

static int finished;

static atomic_size_t issued; /* by main, and from then on by the completions */
static size_t answered;      /* of the completion thread, as is bytes */
static unsigned long long bytes;

static void fail(const char *what, int code)
{
	fprintf(stderr, "fill: %s: %s\n", what, zerror(code));
	exit(1);
}

static void on_session(zhandle_t *h, int type, int state, const char *path, void *context)
{
	(void)h, (void)path, (void)context;
	if (type == ZOO_SESSION_EVENT && state == ZOO_CONNECTED_STATE)
		set(&connected, 1);
}

static void on_watch(zhandle_t *h, int type, int state, const char *path, void *context)
{
	(void)h, (void)type, (void)state, (void)path, (void)context;
}

static void issue(void);

static void on_data(int rc, const char *value, int length, const struct Stat *stat, const void *data)
{
	(void)value, (void)stat;
	if (rc != ZOK)
		fail(data, rc);
	bytes += length;
	issue();
	if (++answered == count)
		set(&finished, 1);
}

/* Sends the next request, if there is one left. */
static void issue(void)
{
	size_t next = atomic_fetch_add(&issued, 1);

	if (next >= count)
		return;
	int rc = zoo_awget(handle, paths[next], on_watch, NULL, on_data, paths[next]);
	if (rc != ZOK)
		fail(paths[next], rc);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_utime.tv_sec + u.ru_utime.tv_usec / 1e6 + u.ru_stime.tv_sec + u.ru_stime.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--version")) {
		puts(ZOO_VERSION);
		return 0;
	}
	if (argc != 4) {
		fprintf(stderr, "usage: fill HOST:PORT FILE-OF-PATHS IN-FLIGHT | --version\n");
		return 2;
	}
	read_paths(argv[2]);
	connect_to(argv[1], on_session);

	double wall = seconds(), cpu = cpu_seconds();
	size_t first = strtoul(argv[3], NULL, 10);
	for (size_t i = 0; i < first; i++)
		issue();
	wait_for(&finished);
	printf("{\"Reads\":%zu,\"Bytes\":%llu,\"Seconds\":%.6f,\"CPUSeconds\":%.6f}\n",
	       count, bytes, seconds() - wall, cpu_seconds() - cpu);
	return zookeeper_close(handle) == ZOK ? 0 : 1;
}
