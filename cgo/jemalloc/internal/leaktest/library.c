#include "leaktest.h"

#include <dlfcn.h>

void *leaktest_open(const char *path, const char **error)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
		*error = dlerror();
	return library;
}

void *leaktest_call(void *library, const char *function, size_t size, const char **error)
{
	void *(*call)(size_t) = (void *(*)(size_t))dlsym(library, function);
	void *volatile block = NULL; /* volatile, so that the call below is not a tail call */
	if (call == NULL)
		*error = dlerror();
	else
		block = call(size);
	return block;
}

void leaktest_close(void *library) { dlclose(library); }
