#ifndef GOJEMALLOC_LIBRARIES_H
#define GOJEMALLOC_LIBRARIES_H

#include <stdbool.h>
#include <stdint.h>

/* libraries.c describes what this is for. */

enum {
	GOJEMALLOC_LIBRARIES = 128,   /* the most libraries that are recorded */
	GOJEMALLOC_LIBRARY_PCS = 512, /* the most addresses of one library */
};

/* The code of one library, as in a line of the memory map. */
struct gojemalloc_library {
	uintptr_t start, limit, offset;
	uint32_t build_id_len;
	unsigned char build_id[32];
	uint64_t headers; /* if there is no build-id: a hash of the ELF headers, which differs between builds */
	char path[512]; /* as the dynamic linker has it: it may be relative */
};

/* The library, or the program, that has the code at an address. */
struct gojemalloc_object {
	const void *start; /* where its first page is in memory */
	uintptr_t bias;    /* the distance from the addresses in its file to those in memory */
	const char *name;  /* its path, as the dynamic linker has it */
};

/* Finds the object of an address. It allocates no memory. libraries.c does not have it,
 * because each user of libraries.c finds objects in a way of its own (find_library.c). */
bool gojemalloc_object_at(uintptr_t pc, struct gojemalloc_object *object);

/* Records the libraries that were loaded at the program's start, which cannot be closed.
 * To be called once, before the hook is installed. */
void gojemalloc_libraries_start(void);

/* Records the libraries whose code is on a stack. The hook calls it, so it allocates no
 * memory. It takes no lock, unless gojemalloc_object_at does. */
void gojemalloc_libraries_note(void *const *pcs, unsigned len);

/* gojemalloc_libraries_len returns how many libraries were recorded, and
 * gojemalloc_libraries_get one of them. It writes the library's return addresses to
 * pcs, which has room for GOJEMALLOC_LIBRARY_PCS, and returns how many there are. *full
 * says that there were more. While a thread still records the library, its path is
 * empty. */
unsigned gojemalloc_libraries_len(void);
bool gojemalloc_libraries_more(void); /* not all were recorded */
unsigned gojemalloc_libraries_get(unsigned i, struct gojemalloc_library *library, uintptr_t *pcs, bool *full);

#endif
