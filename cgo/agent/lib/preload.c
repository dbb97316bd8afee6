/* How LD_PRELOAD names the library: a list of files, with blanks or colons between them. */
#include "preload.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "text.h"

int agent_preload_descriptor(const char *path)
{
	static const char files[] = "/proc/self/fd/";
	const char *digits = path + sizeof files - 1;
	uint64_t n;

	if (strncmp(path, files, sizeof files - 1) != 0 || !agent_read_decimal(&digits, &n) || *digits != 0 || n > INT32_MAX)
		return -1;
	return (int)n;
}

static bool separates(char c) { return c == ' ' || c == ':'; }

const char *agent_preload_find(const char *list, const char *path, const char **rest)
{
	size_t len = strlen(path);

	if (len == 0)
		return NULL;
	for (const char *at = list; (at = strstr(at, path)) != NULL; at++) {
		if ((at != list && !separates(at[-1])) || (at[len] != 0 && !separates(at[len])))
			continue;
		*rest = at + len;
		while (separates(**rest))
			++*rest;
		return at;
	}
	return NULL;
}
