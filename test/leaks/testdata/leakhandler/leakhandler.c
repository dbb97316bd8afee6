#include "leakhandler.h"

#include <string.h>

// What was asked for last; the one before is forgotten. Not static: what nobody can
// read, the compiler does not even allocate.
_Thread_local char *leak_last;

void leak_remember(const char *name)
{
	leak_last = strdup(name);
}
