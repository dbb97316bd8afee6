/* A program without a malloc of its own, for comparison with own.c. */
#include <string.h>

#include "check.h"
#include "exports.h"

int main(void)
{
	const char *other = NULL;

	CHECK(test_start != NULL, "the library is not preloaded");
	CHECK(test_is_first(&other) && strcmp(other, "") == 0, "the first is %s", other);
	CHECK(strstr(test_real_path(), "libc.so") != NULL, "the real malloc is that of %s", test_real_path());
	for (int i = 0; i < 1000000; i++)
		free(keep(malloc(100)));
	printf("first: the malloc of %s\n", test_real_path());
	return 0;
}
