// The znodes that fill.c and watch.c read: a path a line.
#ifndef MAGELLAN_BENCH_PATHS_H
#define MAGELLAN_BENCH_PATHS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char **paths;
static size_t count;

static void read_paths(const char *name)
{
	FILE *f = fopen(name, "r");
	char line[1024];
	size_t room = 0;

	if (!f) {
		perror(name);
		exit(1);
	}
	while (fgets(line, sizeof line, f)) {
		if (count == room)
			paths = realloc(paths, (room = room ? 2 * room : 1024) * sizeof *paths);
		line[strcspn(line, "\n")] = 0;
		paths[count++] = strdup(line);
	}
	fclose(f);
}

#endif
