/* Finds the library of an address without a lock, as the hook has to: _dl_find_object of
 * glibc 2.35 does so. With other C libraries none is found, and so none is recorded. */
#define _GNU_SOURCE
#include "libraries.h"

#include <dlfcn.h>
#include <link.h>
#include <stddef.h>

#ifdef DLFO_STRUCT_HAS_EH_DBASE /* glibc 2.35 */

#pragma weak _dl_find_object

bool gojemalloc_object_at(uintptr_t pc, struct gojemalloc_object *object)
{
	struct dl_find_object found;

	if (_dl_find_object == NULL || _dl_find_object((void *)pc, &found) != 0)
		return false;
	*object = (struct gojemalloc_object){found.dlfo_map_start, found.dlfo_link_map->l_addr, found.dlfo_link_map->l_name};
	return true;
}

#else

bool gojemalloc_object_at(uintptr_t pc, struct gojemalloc_object *object)
{
	(void)pc, (void)object;
	return false;
}

#endif
