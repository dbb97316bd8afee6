/* The unwinder's search for the library that has an address, with every C library.
 *
 * libgcc's unwinder, which is linked into the agent, asks _dl_find_object where the
 * unwinding information of an address is. glibc has that function since 2.35, and musl does
 * not have it. So the agent has one of its own, for its own unwinder: it asks that of the C
 * library if there is one, which takes no lock, and otherwise dl_iterate_phdr, which does.
 *
 * An older libgcc asks dl_iterate_phdr by itself, and does not need this. */
#define _GNU_SOURCE
#include <dlfcn.h>

#ifdef DLFO_STRUCT_HAS_EH_DBASE

#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "real.h"

typedef int find_function(void *address, struct dl_find_object *result);

struct search {
	uintptr_t address;
	struct dl_find_object *result;
};

static int visit(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct search *search = arg;
	uintptr_t start = UINTPTR_MAX, end = 0;
	const void *table = NULL;
	bool has = false;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t at = info->dlpi_addr + p->p_vaddr;

		if (p->p_type == PT_GNU_EH_FRAME)
			table = (const void *)at;
		if (p->p_type != PT_LOAD)
			continue;
		has |= search->address - at < p->p_memsz;
		start = at < start ? at : start;
		end = at + p->p_memsz > end ? at + p->p_memsz : end;
	}
	if (!has)
		return 0;
	search->result->dlfo_map_start = (void *)start;
	search->result->dlfo_map_end = (void *)end;
	search->result->dlfo_eh_frame = (void *)table;
	return table != NULL ? 1 : -1;
}

__attribute__((visibility("hidden"))) int _dl_find_object(void *address, struct dl_find_object *result)
{
	enum { UNKNOWN, FOUND, NONE };
	static find_function *own;
	static int state;
	struct search search = {(uintptr_t)address, result};

	if (__atomic_load_n(&state, __ATOMIC_ACQUIRE) == UNKNOWN) {
		find_function *f = (find_function *)agent_real_function("_dl_find_object");

		__atomic_store_n(&own, f, __ATOMIC_RELAXED);
		__atomic_store_n(&state, f != NULL ? FOUND : NONE, __ATOMIC_RELEASE);
	}
	if (state == FOUND)
		return own(address, result);
	memset(result, 0, sizeof *result);
	return dl_iterate_phdr(visit, &search) == 1 ? 0 : -1;
}

#endif
