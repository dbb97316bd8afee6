//go:build ignore
/*
 * The watcher that magellan's propagation is compared with: what a plain C
 * program on libzookeeper_mt does. It reads each znode of a list with a watch,
 * and reads one again, with a new watch, whenever its watch fires. For each
 * value of the first znode of the list it writes a line: when it had the value,
 * in nanoseconds of CLOCK_MONOTONIC, and the value. It goes on until it is ended.
 * (The first line keeps go build from taking this file for cgo's.)
 *
 *   watch HOST:PORT FILE-OF-PATHS IN-FLIGHT
 *
 * All watches are on one session. A session that has lost its connection could
 * not set so many again in the one request libzookeeper makes of them, so the
 * program ends when that happens.
 */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "paths.h"
#include "session.h"

static atomic_size_t issued; /* by main, and from then on by the completions */
static size_t answered;      /* of the completion thread */

static void fail(const char *what, int code)
{
	fprintf(stderr, "watch: %s: %s\n", what, zerror(code));
	exit(1);
}

static void on_session(zhandle_t *h, int type, int state, const char *path, void *context)
{
	(void)h, (void)path, (void)context;
	if (type != ZOO_SESSION_EVENT)
		return;
	if (connected) /* nothing but this writes it */
		fail("session", state == ZOO_EXPIRED_SESSION_STATE ? ZSESSIONEXPIRED : ZCONNECTIONLOSS);
	set(&connected, state == ZOO_CONNECTED_STATE);
}

static void issue(void);
static void read_and_watch(char **path);

/* Runs on the completion thread, as do all that follow it. */
static void on_watch(zhandle_t *h, int type, int state, const char *path, void *context)
{
	(void)h, (void)state, (void)path;
	if (type != ZOO_SESSION_EVENT)
		read_and_watch(context);
}

static void on_data(int rc, const char *value, int length, const struct Stat *stat, const void *data)
{
	struct timespec t;
	char *const *path = data;

	(void)stat;
	clock_gettime(CLOCK_MONOTONIC, &t);
	if (rc != ZOK)
		fail(*path, rc);
	if (path == paths)
		printf("%lld %.*s\n", t.tv_sec * 1000000000LL + t.tv_nsec, length, value);
	if (answered < count) {
		issue();
		if (++answered == count)
			puts("all are watched");
	}
	fflush(stdout);
}

static void read_and_watch(char **path)
{
	int rc = zoo_awget(handle, *path, on_watch, path, on_data, path);
	if (rc != ZOK)
		fail(*path, rc);
}

/* Reads the next znode, if there is one left. */
static void issue(void)
{
	size_t next = atomic_fetch_add(&issued, 1);

	if (next < count)
		read_and_watch(&paths[next]);
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: watch HOST:PORT FILE-OF-PATHS IN-FLIGHT\n");
		return 2;
	}
	read_paths(argv[2]);
	connect_to(argv[1], on_session);

	size_t first = strtoul(argv[3], NULL, 10);
	for (size_t i = 0; i < first; i++)
		issue();
	for (;;)
		pause();
}
