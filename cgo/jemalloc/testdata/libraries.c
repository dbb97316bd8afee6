/* Opens the libraries of its arguments one after the other, has the address of the
 * function f in each noted, and prints what was noted. */
#include "../find_library.c"
#include "../libraries.c"

#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct gojemalloc_library library;
	uintptr_t pcs[GOJEMALLOC_LIBRARY_PCS];
	bool full;

	gojemalloc_libraries_start();
	for (int i = 1; i < argc; i++) {
		void *handle = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL);
		void *f = handle == NULL ? NULL : dlsym(handle, "f");

		if (f == NULL) {
			fprintf(stderr, "%s\n", dlerror());
			return 1;
		}
		f = (char *)f + 1; /* as a return address: behind the call */
		gojemalloc_libraries_note(&f, 1);
	}
	for (unsigned i = 0; i < gojemalloc_libraries_len(); i++) {
		unsigned n = gojemalloc_libraries_get(i, &library, pcs, &full);
		printf("%s: %u bytes of build-id, %u addresses\n", library.path, library.build_id_len, n);
	}
	puts(gojemalloc_libraries_more() ? "more" : "all");
	return 0;
}
