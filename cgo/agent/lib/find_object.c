/* The search for the library that has an address, with every C library.
 *
 * libgcc's unwinder, which is linked into the agent, asks _dl_find_object where the
 * unwinding information of an address is. glibc has that function since 2.35, and musl does
 * not have it. So the agent has one of its own, for its own unwinder: it asks that of the C
 * library if there is one, which takes no lock, and otherwise dl_iterate_phdr, which does.
 * An older libgcc asks dl_iterate_phdr by itself.
 *
 * libraries.c finds the libraries of a stack in the same way. So it takes no lock that the
 * unwinder has not just taken for the same stack.
 *
 * That lock may be held by another thread at a fork. glibc does not free it in the child, so
 * a walk there could wait forever. Where walks take the lock, such a child takes no samples. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <sched.h>
#include <string.h>

#include "../../jemalloc/libraries.h"
#include "profile.h"
#include "real.h"
#include "thread.h"

enum { PAGE = 4096 };

/* An object that dl_iterate_phdr has found. The name stays valid as long as the object is
 * loaded. */
struct search {
	uintptr_t address;
	uintptr_t start, end, bias;
	const char *name;
	const void *table; /* of the unwinding information, or NULL */
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
	search->start = start & -(uintptr_t)PAGE;
	search->end = end;
	search->bias = info->dlpi_addr;
	search->name = info->dlpi_name;
	search->table = table;
	return 1;
}

/* dl_iterate_phdr takes a lock of the C library. If a thread holds it while another one forks,
 * the child has it locked for ever, and waits for it when it exits. So a fork waits until
 * no thread is in there on behalf of the agent, and others wait for it. They cannot be
 * refused: the unwinder gives up the process if it does not find its own code. The fork
 * does not wait for long: the thread that forks may itself be in a constructor, and hold that lock. */
static int walkers;
static bool forking;

static int iterate(struct search *search)
{
	int found;

	if (agent_thread.forking) /* in another fork handler */
		return dl_iterate_phdr(visit, search);
	for (;;) {
		__atomic_add_fetch(&walkers, 1, __ATOMIC_SEQ_CST);
		if (!__atomic_load_n(&forking, __ATOMIC_SEQ_CST))
			break;
		__atomic_sub_fetch(&walkers, 1, __ATOMIC_SEQ_CST);
		sched_yield();
	}
	found = dl_iterate_phdr(visit, search);
	__atomic_sub_fetch(&walkers, 1, __ATOMIC_SEQ_CST);
	return found;
}

void agent_find_before_fork(void)
{
	enum { PATIENCE = 100000 };

	__atomic_store_n(&forking, true, __ATOMIC_SEQ_CST);
	for (int i = 0; i < PATIENCE && __atomic_load_n(&walkers, __ATOMIC_SEQ_CST) != 0; i++)
		sched_yield();
}

void agent_find_after_fork(bool in_child)
{
	if (in_child)
		__atomic_store_n(&walkers, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&forking, false, __ATOMIC_SEQ_CST);
}

#ifdef DLFO_STRUCT_HAS_EH_DBASE

/* A test gives another name, so that nothing is found. */
#ifndef AGENT_FIND_OBJECT
#define AGENT_FIND_OBJECT "_dl_find_object"
#endif

typedef int find_function(void *address, struct dl_find_object *result);

/* The C library's function, or NULL. */
static find_function *lockless(void)
{
	enum { UNKNOWN, FOUND, NONE };
	static find_function *own;
	static int state;

	if (__atomic_load_n(&state, __ATOMIC_ACQUIRE) == UNKNOWN) {
		find_function *f = (find_function *)agent_real_function(AGENT_FIND_OBJECT);

		__atomic_store_n(&own, f, __ATOMIC_RELAXED);
		__atomic_store_n(&state, f != NULL ? FOUND : NONE, __ATOMIC_RELEASE);
	}
	return __atomic_load_n(&own, __ATOMIC_RELAXED);
}

bool agent_find_takes_lock(void) { return lockless() == NULL; }

__attribute__((visibility("hidden"))) int _dl_find_object(void *address, struct dl_find_object *result)
{
	find_function *find = lockless();
	struct search search = {.address = (uintptr_t)address};

	if (find != NULL)
		return find(address, result);
	memset(result, 0, sizeof *result);
	if (iterate(&search) == 0 || search.table == NULL)
		return -1;
	result->dlfo_map_start = (void *)search.start;
	result->dlfo_map_end = (void *)search.end;
	result->dlfo_eh_frame = (void *)search.table;
	return 0;
}

#else

bool agent_find_takes_lock(void) { return true; }

#endif

__attribute__((visibility("hidden"))) bool gojemalloc_object_at(uintptr_t pc, struct gojemalloc_object *object)
{
	struct search search = {.address = pc};
#ifdef DLFO_STRUCT_HAS_EH_DBASE
	find_function *find = lockless();

	if (find != NULL) {
		struct dl_find_object found;

		if (find((void *)pc, &found) != 0)
			return false;
		*object = (struct gojemalloc_object){found.dlfo_map_start, found.dlfo_link_map->l_addr, found.dlfo_link_map->l_name};
		return true;
	}
#endif
	if (iterate(&search) == 0)
		return false;
	*object = (struct gojemalloc_object){(const void *)search.start, search.bias, search.name};
	return true;
}
