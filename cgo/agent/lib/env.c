/* The environment in which the agent came into the process.
 *
 * Go's runtime copies the environment when it starts, from the array that the kernel has
 * put on the stack. The agent's constructor runs before, and changes that array in place:
 * unsetenv moves its entries, and a part of LD_PRELOAD is cut out of the string itself. */
#define _GNU_SOURCE
#include "env.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char variable[] = "MAGELLAN_AGENT";

enum { DEFAULT_SAMPLE = 512 << 10 };

/* Reads a decimal number. Returns false if there is none. */
static bool number(const char **s, uint64_t *value)
{
	const char *begin = *s;

	for (*value = 0; **s >= '0' && **s <= '9' && *value < UINT64_MAX / 10 - 1; ++*s)
		*value = *value * 10 + (uint64_t)(**s - '0');
	return *s != begin;
}

void agent_env_read(struct agent_settings *settings)
{
	const char *s = getenv(variable);

	*settings = (struct agent_settings){.sample = DEFAULT_SAMPLE};
	while (s != NULL && *s != 0) {
		static const char *const names[] = {"sample=", "off=", "children="};
		uint64_t value;

		for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
			size_t len = strlen(names[i]);

			if (strncmp(s, names[i], len) != 0)
				continue;
			s += len;
			if (!number(&s, &value))
				break;
			if (i == 0 && value > 0)
				settings->sample = value;
			if (i == 1)
				settings->off = value != 0;
			if (i == 2)
				settings->children = value != 0;
			break;
		}
		while (*s != 0 && *s++ != ',')
			;
	}
}

/* LD_PRELOAD is a list of files, with blanks or colons between them. */
static bool separates(char c) { return c == ' ' || c == ':'; }

static void cut_from_preload(const char *path)
{
	char *list = getenv("LD_PRELOAD"), *at;
	size_t len = strlen(path);

	if (list == NULL || len == 0)
		return;
	for (at = list; (at = strstr(at, path)) != NULL; at++) {
		char *end = at + len;

		if ((at != list && !separates(at[-1])) || (*end != 0 && !separates(*end)))
			continue;
		while (separates(*end))
			end++;
		memmove(at, end, strlen(end) + 1);
		break;
	}
	for (at = list + strlen(list); at > list && separates(at[-1]); at--)
		at[-1] = 0;
	if (*list == 0)
		unsetenv("LD_PRELOAD");
}

void agent_env_leave(const char *path)
{
	static const char files[] = "/proc/self/fd/";
	const char *fd = path + sizeof files - 1;
	uint64_t n;

	cut_from_preload(path);
	unsetenv(variable);
	if (strncmp(path, files, sizeof files - 1) == 0 && number(&fd, &n) && *fd == 0 && n > 2)
		close((int)n);
}
