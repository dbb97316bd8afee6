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

#include "preload.h"
#include "text.h"

static const char variable[] = "MAGELLAN_AGENT";

enum { DEFAULT_SAMPLE = 512 << 10 };

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
			if (!agent_read_decimal(&s, &value))
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

void agent_env_leave(const char *path)
{
	char *list = getenv("LD_PRELOAD");
	const char *rest, *entry = list != NULL ? agent_preload_find(list, path, &rest) : NULL;
	int fd = agent_preload_descriptor(path);

	if (entry != NULL) {
		size_t before = (size_t)(entry - list);

		memmove(list + before, rest, strlen(rest) + 1);
		if (*rest == 0 && before > 0) /* it was the last one: what separated it goes too */
			list[before - 1] = 0;
		if (*list == 0)
			unsetenv("LD_PRELOAD");
	}
	unsetenv(variable);
	if (fd > 2)
		close(fd);
}
