/* How LD_PRELOAD names the library. */
#ifndef AGENT_PRELOAD_H
#define AGENT_PRELOAD_H

#include <stddef.h>

/* The descriptor of a path of the form /proc/self/fd/N, or -1 if it has another form. */
int agent_preload_descriptor(const char *path);

/* Finds the entry path in a value of LD_PRELOAD. Returns NULL if it is not there. *rest is
 * where the next entry begins. */
const char *agent_preload_find(const char *list, const char *path, const char **rest);

#endif
