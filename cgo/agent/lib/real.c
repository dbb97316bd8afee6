/* Finds the process's own malloc.
 *
 * Every object of a process is asked for its malloc in load order, which is the order in
 * which the dynamic loader searches. The first object after the agent that exports malloc
 * is the one that the process would use without the agent. If there is none after it,
 * because the agent was loaded late, it is the first one of all. The relatives of malloc
 * come from the same object. If it lacks one, the next object that exports it serves, as
 * it would without the agent.
 *
 * Why not dlsym: before glibc 2.34 it was in libdl, which the process may not have, and it
 * may allocate, which would recurse here. dl_iterate_phdr is in every libc and does not
 * allocate. The lookup itself is some loads from tables that the loader uses too.
 *
 * The search runs in the first call of an interposed function. That is before the
 * constructors, and the dynamic loader itself may be the caller. */
#define _GNU_SOURCE
#include "real.h"

#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "profile.h"
#include "sampler.h"

enum { PAGE = 4096 };

/* The tables of one object that a lookup reads. */
struct object {
	const char *name;
	uintptr_t base;
	const ElfW(Sym) *symbols;
	const char *strings;
	const uint32_t *gnu_hash, *hash;
	const ElfW(Half) *versions;
	bool is_agent;
};

/* The loader of glibc relocates d_ptr, that of musl and the kernel's vDSO do not. */
static uintptr_t pointer(const struct dl_phdr_info *info, uintptr_t d_ptr)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type == PT_LOAD && d_ptr - (info->dlpi_addr + p->p_vaddr) < p->p_memsz)
			return d_ptr;
	}
	return info->dlpi_addr + d_ptr;
}

static bool open_object(const struct dl_phdr_info *info, struct object *o)
{
	const ElfW(Dyn) *d = NULL;

	*o = (struct object){.name = info->dlpi_name, .base = info->dlpi_addr};
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type == PT_DYNAMIC)
			d = (const ElfW(Dyn) *)(info->dlpi_addr + p->p_vaddr);
		if (p->p_type == PT_LOAD && (uintptr_t)open_object - (info->dlpi_addr + p->p_vaddr) < p->p_memsz)
			o->is_agent = true;
	}
	for (; d != NULL && d->d_tag != DT_NULL; d++) {
		uintptr_t at = d->d_un.d_ptr;

		if (d->d_tag == DT_SYMTAB)
			o->symbols = (const ElfW(Sym) *)pointer(info, at);
		else if (d->d_tag == DT_STRTAB)
			o->strings = (const char *)pointer(info, at);
		else if (d->d_tag == DT_GNU_HASH)
			o->gnu_hash = (const uint32_t *)pointer(info, at);
		else if (d->d_tag == DT_HASH)
			o->hash = (const uint32_t *)pointer(info, at);
		else if (d->d_tag == DT_VERSYM)
			o->versions = (const ElfW(Half) *)pointer(info, at);
	}
	return o->symbols != NULL && o->strings != NULL && (o->gnu_hash != NULL || o->hash != NULL);
}

/* The address of symbol i, if it is a definition of the function name that a program linked
 * today would get. NULL otherwise. */
static void *definition(const struct object *o, uint32_t i, const char *name)
{
	enum { HIDDEN_VERSION = 0x8000 };
	const ElfW(Sym) *s = &o->symbols[i];
	unsigned type = ELF64_ST_TYPE(s->st_info), binding = ELF64_ST_BIND(s->st_info);
	uintptr_t address;

	if (s->st_shndx == SHN_UNDEF || s->st_value == 0 || strcmp(o->strings + s->st_name, name) != 0)
		return NULL;
	if (type != STT_FUNC && type != STT_NOTYPE && type != STT_GNU_IFUNC)
		return NULL;
	if (binding != STB_GLOBAL && binding != STB_WEAK && binding != STB_GNU_UNIQUE)
		return NULL;
	if (o->versions != NULL && (o->versions[i] & HIDDEN_VERSION) != 0)
		return NULL;
	address = o->base + s->st_value;
	if (type == STT_GNU_IFUNC)
		return ((void *(*)(void))address)();
	return (void *)address;
}

static void *lookup_gnu(const struct object *o, const char *name)
{
	uint32_t buckets = o->gnu_hash[0], first = o->gnu_hash[1], bloom_words = o->gnu_hash[2], h = 5381, i;
	const uint32_t *bucket = o->gnu_hash + 4 + bloom_words * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
	const uint32_t *chain = bucket + buckets;

	for (const char *c = name; *c != '\0'; c++)
		h = h * 33 + (unsigned char)*c;
	i = buckets == 0 ? 0 : bucket[h % buckets];
	if (i < first || i == 0)
		return NULL;
	for (;; i++) {
		uint32_t other = chain[i - first];
		void *found = (other | 1) == (h | 1) ? definition(o, i, name) : NULL;

		if (found != NULL || (other & 1) != 0) /* the lowest bit ends a chain */
			return found;
	}
}

static void *lookup_sysv(const struct object *o, const char *name)
{
	uint32_t buckets = o->hash[0], h = 0;
	const uint32_t *bucket = o->hash + 2, *chain = bucket + buckets;

	for (const char *c = name; *c != '\0'; c++) {
		h = (h << 4) + (unsigned char)*c;
		h = (h ^ (h & 0xf0000000) >> 24) & 0x0fffffff;
	}
	for (uint32_t i = buckets == 0 ? 0 : bucket[h % buckets]; i != 0; i = chain[i]) {
		void *found = definition(o, i, name);

		if (found != NULL)
			return found;
	}
	return NULL;
}

static void *lookup(const struct object *o, const char *name)
{
	return o->gnu_hash != NULL ? lookup_gnu(o, name) : lookup_sysv(o, name);
}

/* The functions to find. Their order is that of struct agent_real. */
enum { MALLOC, CALLOC, REALLOC, FREE, MEMALIGN, ALIGNED_ALLOC, POSIX_MEMALIGN, VALLOC, PVALLOC, USABLE_SIZE, FUNCTIONS };
static const char names[FUNCTIONS][20] = {"malloc", "calloc", "realloc", "free", "memalign",
	"aligned_alloc", "posix_memalign", "valloc", "pvalloc", "malloc_usable_size"};

/* Functions of the objects before the agent, and of those after it. */
struct found {
	void *function[FUNCTIONS];
	bool with_malloc[FUNCTIONS]; /* the function is from the object that malloc is from */
	const char *path;            /* that object's */
};

struct search {
	struct found before, after;
	bool met_agent;
};

/* Functions are taken from the object that has malloc and from those after it. An object
 * before it that has only some of the functions is no allocator. */
static int visit(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct search *search = arg;
	struct found *found = search->met_agent ? &search->after : &search->before;
	struct object o;
	bool has_malloc = false;

	(void)size;
	if (!open_object(info, &o))
		return 0;
	if (o.is_agent) {
		search->met_agent = true;
		return 0;
	}
	if (found->function[MALLOC] == NULL) {
		if (lookup(&o, names[MALLOC]) == NULL)
			return 0;
		has_malloc = true;
		found->path = o.name;
	}
	for (int i = 0; i < FUNCTIONS; i++)
		if (found->function[i] == NULL && (found->function[i] = lookup(&o, names[i])) != NULL)
			found->with_malloc[i] = has_malloc;
	return 0;
}

/* The name is empty for the program itself. It is copied, because the object may be
 * unloaded. */
static void copy_path(char *to, size_t size, const char *name)
{
	size_t n = strlen(name);

	if (n == 0) {
		ssize_t got = readlink("/proc/self/exe", to, size - 1);

		to[got > 0 ? got : 0] = '\0';
		return;
	}
	if (n >= size)
		n = size - 1;
	memcpy(to, name, n);
	to[n] = '\0';
}

struct single {
	const char *name;
	void *before, *after;
	bool met_agent;
};

static int visit_single(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct single *search = arg;
	void **found = search->met_agent ? &search->after : &search->before;
	struct object o;

	(void)size;
	if (!open_object(info, &o))
		return 0;
	if (o.is_agent)
		search->met_agent = true;
	else if (*found == NULL)
		*found = lookup(&o, search->name);
	return 0;
}

void *agent_real_function(const char *name)
{
	struct single search = {.name = name};

	dl_iterate_phdr(visit_single, &search);
	return search.after != NULL ? search.after : search.before;
}

static char real_path[PATH_MAX], first_path[PATH_MAX];
static bool first = true;
static bool pages_by_memalign, pages_by_posix_memalign, pages_by_aligned_alloc;

static void *no_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

/* For functions that no object has. */
static void *no_malloc(size_t n) { (void)n; return no_memory(); }
static void *no_calloc(size_t a, size_t b) { (void)a, (void)b; return no_memory(); }
static void *no_realloc(void *p, size_t n) { (void)p, (void)n; return no_memory(); }
static void no_free(void *p) { (void)p; }
static size_t no_usable_size(void *p) { (void)p; return 0; }
static int no_posix_memalign(void **p, size_t a, size_t n) { (void)p, (void)a, (void)n; return ENOMEM; }

/* jemalloc has no pvalloc. The next object's pvalloc, glibc's, would give blocks that
 * jemalloc's free cannot free. */
static void *valloc_by_memalign(size_t n) { return agent_real.memalign(PAGE, n); }
static void *pvalloc_by_memalign(size_t n)
{
	if (n > SIZE_MAX - PAGE)
		return no_memory();
	return agent_real.memalign(PAGE, (n + PAGE - 1) & ~(size_t)(PAGE - 1));
}

#define SET_IF(condition, name, i, otherwise) \
	__atomic_store_n(&agent_real.name, (condition) ? (__typeof__(agent_real.name))f->function[i] : (otherwise), __ATOMIC_RELEASE)
#define SET(name, i, otherwise) SET_IF(f->function[i] != NULL, name, i, otherwise)

static void search_all(void)
{
	int saved_errno = errno;
	struct search search = {0};
	const struct found *f;

	dl_iterate_phdr(visit, &search);
	if (search.before.function[MALLOC] != NULL) {
		first = false;
		copy_path(first_path, sizeof first_path, search.before.path);
	}
	f = search.after.function[MALLOC] != NULL ? &search.after : &search.before;
	if (f->path != NULL)
		copy_path(real_path, sizeof real_path, f->path);
	pages_by_memalign = f->with_malloc[MEMALIGN];
	pages_by_posix_memalign = f->with_malloc[POSIX_MEMALIGN];
	pages_by_aligned_alloc = f->with_malloc[ALIGNED_ALLOC];
	SET(calloc, CALLOC, no_calloc);
	SET(realloc, REALLOC, no_realloc);
	SET(free, FREE, no_free);
	SET(memalign, MEMALIGN, no_calloc);
	SET(aligned_alloc, ALIGNED_ALLOC, no_calloc);
	SET(posix_memalign, POSIX_MEMALIGN, no_posix_memalign);
	SET_IF(f->with_malloc[VALLOC], valloc, VALLOC, valloc_by_memalign);
	SET_IF(f->with_malloc[PVALLOC], pvalloc, PVALLOC, pvalloc_by_memalign);
	SET_IF(f->with_malloc[USABLE_SIZE], malloc_usable_size, USABLE_SIZE, no_usable_size);
	SET(malloc, MALLOC, no_malloc);
	errno = saved_errno;
}

/* Threads that come while another one searches wait for it. */
void agent_real_find(void)
{
	enum { NOT_YET, SEARCHING, DONE };
	static int state;
	int seen = NOT_YET;

	if (__atomic_compare_exchange_n(&state, &seen, SEARCHING, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
		search_all();
		__atomic_store_n(&state, DONE, __ATOMIC_RELEASE);
		agent_profile_prepare_for_forks(); /* may allocate */
		return;
	}
	while (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != DONE)
		sched_yield();
}

static void *first_malloc(size_t n) { agent_real_find(); return agent_real.malloc(n); }
static void *first_calloc(size_t a, size_t b) { agent_real_find(); return agent_real.calloc(a, b); }
static void *first_realloc(void *p, size_t n) { agent_real_find(); return agent_real.realloc(p, n); }
static void first_free(void *p) { agent_real_find(); agent_real.free(p); }
static void *first_memalign(size_t a, size_t n) { agent_real_find(); return agent_real.memalign(a, n); }
static void *first_aligned_alloc(size_t a, size_t n) { agent_real_find(); return agent_real.aligned_alloc(a, n); }
static int first_posix_memalign(void **p, size_t a, size_t n) { agent_real_find(); return agent_real.posix_memalign(p, a, n); }
static void *first_valloc(size_t n) { agent_real_find(); return agent_real.valloc(n); }
static void *first_pvalloc(size_t n) { agent_real_find(); return agent_real.pvalloc(n); }
static size_t first_usable_size(void *p) { agent_real_find(); return agent_real.malloc_usable_size(p); }

struct agent_real agent_real = {
	.malloc = first_malloc,
	.calloc = first_calloc,
	.realloc = first_realloc,
	.free = first_free,
	.memalign = first_memalign,
	.aligned_alloc = first_aligned_alloc,
	.posix_memalign = first_posix_memalign,
	.valloc = first_valloc,
	.pvalloc = first_pvalloc,
	.malloc_usable_size = first_usable_size,
};

/* Only functions of malloc's own object will do: agent_real.free frees the block. */
void *agent_real_pages(size_t n)
{
	void *p = NULL;

	agent_real_find();
	if (n == 0) /* jemalloc's memalign(4096, 0) ignores the alignment */
		n = 1;
	if (pages_by_memalign)
		return agent_real.memalign(PAGE, n);
	if (pages_by_posix_memalign)
		return agent_real.posix_memalign(&p, PAGE, n) == 0 ? p : NULL;
	if (pages_by_aligned_alloc && n <= SIZE_MAX - PAGE) /* C11 demands a multiple of the alignment */
		return agent_real.aligned_alloc(PAGE, (n + PAGE - 1) & ~(size_t)(PAGE - 1));
	return NULL;
}

const char *agent_real_path(void)
{
	agent_real_find();
	return real_path;
}

bool agent_is_first(const char **other)
{
	agent_real_find();
	*other = first ? "" : first_path;
	return first;
}
