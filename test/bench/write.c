//go:build ignore
/*
 * The writer whose changes are seen by magellan's clients and by watch.c: a plain
 * C program on libzookeeper_mt. For each line of its standard input, a path and
 * a value, it sets the znode, or creates it if there is a + before the path, or
 * deletes it if there is a -. When that is acknowledged it writes a line with
 * the time, in nanoseconds of CLOCK_MONOTONIC. It goes on until its input ends.
 * (The first line keeps go build from taking this file for cgo's.)
 *
 *   write HOST:PORT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "session.h"

static void on_session(zhandle_t *h, int type, int state, const char *path, void *context)
{
	(void)h, (void)type, (void)path, (void)context;
	set(&connected, state == ZOO_CONNECTED_STATE);
}

int main(int argc, char **argv)
{
	static char line[4096];

	if (argc != 2) {
		fprintf(stderr, "usage: write HOST:PORT\n");
		return 2;
	}
	connect_to(argv[1], on_session);

	while (fgets(line, sizeof line, stdin)) {
		struct timespec t;

		line[strcspn(line, "\n")] = 0;
		char *value = strchr(line, ' ');
		if (!value) {
			fprintf(stderr, "write: no value: %s\n", line);
			return 1;
		}
		*value++ = 0;
		int rc, length = (int)strlen(value);
		if (*line == '+')
			rc = zoo_create(handle, line + 1, value, length, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
		else if (*line == '-')
			rc = zoo_delete(handle, line + 1, -1);
		else
			rc = zoo_set(handle, line, value, length, -1);
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
