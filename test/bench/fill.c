//go:build ignore
/*
 * The client that the cold fill is compared with: what a plain C program on
 * libzookeeper_mt does. It reads and watches each znode of a list once, with a
 * fixed number of requests in flight, and says how long that took. With
 * "children" the list is of directories: it lists and watches the children of
 * each, and reads and watches each child.
 * (The first line keeps go build from taking this file for cgo's.)
 *
 *   fill HOST:PORT FILE-OF-PATHS IN-FLIGHT [children]
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <zookeeper/zookeeper_version.h>

#include "paths.h"
#include "session.h"

static int finished;

/* All that follows changes under lock: main sends the first requests, and the
 * completions send the others. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t most, in_flight;
static size_t directories; /* of paths, that are listed */
static size_t listed;
static size_t wanted; /* to be read: all of paths, or all children */
static char **unread; /* the children that are not read yet, the last first */
static size_t unread_count, room;
static size_t issued, answered;
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
	pthread_mutex_lock(&lock);
	bytes += length;
	answered++;
	in_flight--;
	issue();
	pthread_mutex_unlock(&lock);
}

static void on_children(int rc, const struct String_vector *names, const void *data)
{
	const char *directory = data;
	char path[1024];

	if (rc != ZOK)
		fail(directory, rc);
	pthread_mutex_lock(&lock);
	for (int i = 0; i < names->count; i++) {
		if (unread_count == room)
			unread = realloc(unread, (room = room ? 2 * room : 1024) * sizeof *unread);
		snprintf(path, sizeof path, "%s/%s", directory, names->data[i]);
		unread[unread_count++] = strdup(path);
	}
	wanted += names->count;
	listed++;
	in_flight--;
	issue();
	pthread_mutex_unlock(&lock);
}

/* Sends as many requests as may be in flight. */
static void issue(void)
{
	while (in_flight < most) {
		char *path;
		int rc;

		if (unread_count) {
			path = unread[--unread_count];
			rc = zoo_awget(handle, path, on_watch, NULL, on_data, path);
		} else if (issued < count) {
			path = paths[issued++];
			rc = directories ? zoo_awget_children(handle, path, on_watch, NULL, on_children, path)
					 : zoo_awget(handle, path, on_watch, NULL, on_data, path);
		} else {
			break;
		}
		if (rc != ZOK)
			fail(path, rc);
		in_flight++;
	}
	if (listed == directories && answered == wanted)
		set(&finished, 1);
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
	bool children = argc == 5 && !strcmp(argv[4], "children");
	if (argc != 4 && !children) {
		fprintf(stderr, "usage: fill HOST:PORT FILE-OF-PATHS IN-FLIGHT [children] | --version\n");
		return 2;
	}
	read_paths(argv[2]);
	*(children ? &directories : &wanted) = count;
	most = strtoul(argv[3], NULL, 10);
	connect_to(argv[1], on_session);

	double wall = seconds(), cpu = cpu_seconds();
	pthread_mutex_lock(&lock);
	issue();
	pthread_mutex_unlock(&lock);
	wait_for(&finished);
	printf("{\"Reads\":%zu,\"Bytes\":%llu,\"Seconds\":%.6f,\"CPUSeconds\":%.6f}\n",
	       answered, bytes, seconds() - wall, cpu_seconds() - cpu);
	return zookeeper_close(handle) == ZOK ? 0 : 1;
}
