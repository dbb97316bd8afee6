#ifndef GOJEMALLOC_LIBRARIES_H
#define GOJEMALLOC_LIBRARIES_H

#include <stdbool.h>
#include <stdint.h>

/* libraries.c says what this is for. */

enum {
	GOJEMALLOC_LIBRARIES = 128,   /* that are noted at most */
	GOJEMALLOC_LIBRARY_PCS = 512, /* addresses of each */
};

/* The code of one library, as in a line of the memory map. */
struct gojemalloc_library {
	uintptr_t start, limit, offset;
	uint32_t build_id_len;
	unsigned char build_id[32];
	uint64_t headers; /* of one without a build-id: a hash that tells its builds apart */
	char path[512]; /* as the dynamic linker has it: it may be relative */
};

/* Notes the libraries that are there for good. To be called once, before the hook
 * is set. */
void gojemalloc_libraries_start(void);

/* Notes the libraries that a stack leads through. Called by the hook: it allocates
 * nothing and takes no lock. */
void gojemalloc_libraries_note(void *const *pcs, unsigned len);

/* How many were noted, and one of them: its addresses, return addresses, in pcs,
 * which has room for GOJEMALLOC_LIBRARY_PCS; gives how many. *full: there were more.
 * A library without a path is being noted at this moment. */
unsigned gojemalloc_libraries_len(void);
bool gojemalloc_libraries_more(void); /* not all were noted */
unsigned gojemalloc_libraries_get(unsigned i, struct gojemalloc_library *library, uintptr_t *pcs, bool *full);

#endif
