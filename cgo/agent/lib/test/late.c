/* Loads the library late, as when it comes into a process that runs already. Nothing is bound to
 * it then. Its functions are called directly. Arguments: the library, and the name of the
 * library whose malloc the process has. */
#include <dlfcn.h>
#include <string.h>

#include "check.h"
#include "exports.h"

int main(int argc, char **argv)
{
	void *handle = argc == 3 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
	const char *other;
	struct agent_stats before, after;

	CHECK(handle != NULL, "dlopen: %s", dlerror());
#define FIND(name) __typeof__(name) *const name##_ = (__typeof__(name) *)dlsym(handle, #name); CHECK(name##_ != NULL, "no " #name)
	FIND(malloc);
	FIND(realloc);
	FIND(free);
	FIND(test_start);
	FIND(test_stats);
	FIND(test_is_first);
	FIND(test_real_path);
	CHECK(strstr(test_real_path_(), argv[2]) != NULL, "the real malloc is that of %s", test_real_path_());
	CHECK(!test_is_first_(&other) && strstr(other, argv[2]) != NULL, "the first is %s", other);
	CHECK(test_start_(1, true), "the sampler does not start");
	test_stats_(&before);
	for (size_t i = 0; i < 1000; i++) {
		char *ours = malloc_(i), *real = malloc(i), *other_block = malloc_(i);

		ours = realloc_(ours, i + 1);
		real = realloc_(real, i + 2);
		free_(other_block);
		free_(ours);
		free_(real);
	}
	test_stats_(&after);
	CHECK(after.all_objects - before.all_objects == 4000, "%lu samples, not 4000", after.all_objects - before.all_objects);
	CHECK(after.missed == 0, "%lu samples were missed", after.missed);
	printf("late: %s\n", other);
	return 0;
}
