//go:build ignore
/*
 * The watcher that magellan's propagation is compared with: what a plain C
 * program on libzookeeper_mt does. It reads each znode of a list with a watch,
 * and reads one again, with a new watch, whenever its watch fires. For each
 * value of the first znode of the list it writes a line: when it had the value,
 * in nanoseconds of CLOCK_MONOTONIC, and the value. If there is a slash behind the
 * path of that znode, it is a directory: the program lists its children with a
 * watch, lists them again whenever that fires, and writes such a line for the value
 * of each child that has come, which it reads with a watch, and for each child that
 * has gone, with "gone" and the name. It goes on until it is ended.
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
static void list_and_watch(void);

/* Runs on the completion thread, as do all that follow it. */
static void on_watch(zhandle_t *h, int type, int state, const char *path, void *context)
{
	(void)h, (void)state, (void)path;
	if (type == ZOO_CHILD_EVENT)
		list_and_watch();
	else if (type != ZOO_SESSION_EVENT && type != ZOO_DELETED_EVENT)
		read_and_watch(context);
}

static void tell(const char *about, const char *value, int length)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	printf("%lld %s%.*s\n", t.tv_sec * 1000000000LL + t.tv_nsec, about, length, value);
}

static void done(void)
{
	if (answered < count) {
		issue();
		if (++answered == count)
			puts("all are watched");
	}
	fflush(stdout);
}

/* The children of the directory that is watched. Few of them come and go. */
static char *directory;
static char **children;
static int children_count;

static void on_child(int rc, const char *value, int length, const struct Stat *stat, const void *path)
{
	(void)stat;
	if (rc != ZOK)
		fail(path, rc);
	tell("", value, length);
	fflush(stdout);
}

static int has(char **names, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(names[i], name))
			return 1;
	return 0;
}

static void on_children(int rc, const struct String_vector *names, const void *first)
{
	if (rc != ZOK)
		fail(directory, rc);
	for (int i = 0; i < children_count; i++) {
		if (!has(names->data, names->count, children[i]))
			tell("gone ", children[i], (int)strlen(children[i]));
	}
	char **now = malloc((names->count + 1) * sizeof *now);
	for (int i = 0; i < names->count; i++) {
		now[i] = strdup(names->data[i]);
		if (!first && !has(children, children_count, now[i])) {
			static char path[2048]; /* zoo_awget copies it */

			snprintf(path, sizeof path, "%s/%s", directory, now[i]);
			rc = zoo_awget(handle, path, on_watch, NULL, on_child, path);
			if (rc != ZOK)
				fail(path, rc);
		}
	}
	for (int i = 0; i < children_count; i++)
		free(children[i]);
	free(children);
	children = now;
	children_count = names->count;
	done();
}

static void list_and_watch(void)
{
	int rc = zoo_awget_children(handle, directory, on_watch, NULL, on_children, children ? NULL : directory);

	if (rc != ZOK)
		fail(directory, rc);
}

static void on_data(int rc, const char *value, int length, const struct Stat *stat, const void *data)
{
	char *const *path = data;

	(void)stat;
	if (rc != ZOK)
		fail(*path, rc);
	if (path == paths)
		tell("", value, length);
	done();
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

	if (next == 0 && directory)
		list_and_watch();
	else if (next < count)
		read_and_watch(&paths[next]);
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: watch HOST:PORT FILE-OF-PATHS IN-FLIGHT\n");
		return 2;
	}
	read_paths(argv[2]);
	size_t end = strlen(paths[0]) - 1;
	if (paths[0][end] == '/') {
		paths[0][end] = 0;
		directory = paths[0];
	}
	connect_to(argv[1], on_session);

	size_t first = strtoul(argv[3], NULL, 10);
	for (size_t i = 0; i < first; i++)
		issue();
	for (;;)
		pause();
}
