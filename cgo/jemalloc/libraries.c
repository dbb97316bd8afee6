/* Libraries that may have been closed when the profile is read.
 *
 * A heap dump has the memory map of the moment of the dump. If a library was closed
 * before, what it allocated is still in the dump, but the memory map has nothing at its
 * addresses, or even another library. So for each library that was loaded after the
 * program's start the hook records the library's addresses, its build, and which return
 * addresses in it were on a sampled stack. gojemalloc_object_at returns the library of an
 * address. The library cannot be closed meanwhile, because its code is on the stack.
 *
 * Libraries are never removed from the table. Once it has GOJEMALLOC_LIBRARIES of
 * them, others are not recorded. */
#define _GNU_SOURCE
#include "libraries.h"

#include <link.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FIXED = 64, PCS = GOJEMALLOC_LIBRARY_PCS };

static struct {
	uintptr_t start, limit;
} fixed[MAX_FIXED]; /* code that was loaded at the program's start, the program's own first */
static unsigned fixed_len;

struct entry {
	atomic_bool ready; /* library is complete */
	struct gojemalloc_library library;
	atomic_uint pcs[PCS]; /* hash table; a value is 1 + the address's distance from the start */
	atomic_bool full;     /* there were more addresses than the table has room for */
};

static struct entry entries[GOJEMALLOC_LIBRARIES];
static atomic_uint entries_len; /* may exceed the maximum if several threads add at once */
static atomic_bool more;        /* libraries were not recorded, because the table was full */
static uintptr_t page;

static int note_fixed(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size, (void)arg;
	for (int i = 0; i < info->dlpi_phnum && fixed_len < MAX_FIXED; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type == PT_LOAD && (p->p_flags & PF_X)) {
			fixed[fixed_len].start = info->dlpi_addr + p->p_vaddr;
			fixed[fixed_len++].limit = info->dlpi_addr + p->p_vaddr + p->p_memsz;
		}
	}
	return 0;
}

void gojemalloc_libraries_start(void)
{
	page = sysconf(_SC_PAGESIZE);
	dl_iterate_phdr(note_fixed, NULL);
}

static bool is_fixed(uintptr_t pc)
{
	for (unsigned i = 0; i < fixed_len; i++)
		if (pc - fixed[i].start < fixed[i].limit - fixed[i].start)
			return true;
	return false;
}

/* Reads the GNU build-id from a segment of notes in memory. */
static void read_build_id(const char *notes, size_t size, struct gojemalloc_library *library)
{
	while (size >= sizeof(ElfW(Nhdr))) {
		const ElfW(Nhdr) *note = (const void *)notes;
		size_t name = (note->n_namesz + 3) & ~(size_t)3, desc = (note->n_descsz + 3) & ~(size_t)3;
		size_t whole = sizeof *note + name + desc;

		if (whole > size)
			return;
		if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(note + 1, "GNU", 4) == 0 &&
			note->n_descsz <= sizeof library->build_id) {
			library->build_id_len = note->n_descsz;
			memcpy(library->build_id, (const char *)(note + 1) + name, note->n_descsz);
			return;
		}
		notes += whole;
		size -= whole;
	}
}

/* FNV-1a by words. heapprof computes the same hash of a file's headers. */
static uint64_t hash(uint64_t hash, const void *words, size_t size)
{
	for (const uint64_t *word = words; size >= sizeof *word; size -= sizeof *word)
		hash = (hash ^ *word++) * 0x100000001b3;
	return hash;
}

/* Returns whether the dynamic linker has mapped [start, start + size) of a library as
 * readable. */
static bool readable(uintptr_t start, size_t size, uintptr_t bias, const ElfW(Phdr) *segments, int len)
{
	for (const ElfW(Phdr) *p = segments; p < segments + len; p++) {
		uintptr_t at = start - bias - p->p_vaddr;

		if (p->p_type == PT_LOAD && (p->p_flags & PF_R) && at <= p->p_memsz && size <= p->p_memsz - at)
			return true;
	}
	return false;
}

/* Describes the library that has the code at pc, from its headers in memory. Fails if the
 * program headers are not in the library's first page. Linkers put them there, but ELF
 * allows them anywhere in the file. Elsewhere they may not be in memory. */
static bool describe(uintptr_t pc, struct gojemalloc_library *library)
{
	struct gojemalloc_object object;
	const ElfW(Ehdr) *header;
	const ElfW(Phdr) *segments;
	uintptr_t bias;

	if (!gojemalloc_object_at(pc, &object))
		return false;
	header = object.start;
	if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_phentsize != sizeof *segments)
		return false;
	if (header->e_phoff > page || header->e_phnum * sizeof *segments > page - header->e_phoff)
		return false;
	memset(library, 0, sizeof *library);
	bias = object.bias;
	segments = (const void *)((const char *)header + header->e_phoff);
	for (const ElfW(Phdr) *segment = segments; segment < segments + header->e_phnum; segment++) {
		uintptr_t start = bias + segment->p_vaddr;

		if (segment->p_type == PT_NOTE && library->build_id_len == 0 &&
			readable(start, segment->p_memsz, bias, segments, header->e_phnum))
			read_build_id((const char *)start, segment->p_memsz, library);
		if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X) || pc - start >= segment->p_memsz)
			continue;
		library->start = start & -page;
		library->limit = (start + segment->p_memsz + page - 1) & -page;
		library->offset = segment->p_offset & -page;
	}
	if (library->build_id_len == 0)
		library->headers = hash(hash(0, header, sizeof *header), segments, header->e_phnum * sizeof *segments);
	strncpy(library->path, object.name, sizeof library->path - 1);
	return library->limit != 0;
}

static bool same(const struct gojemalloc_library *a, const struct gojemalloc_library *b)
{
	return a->start == b->start && a->limit == b->limit && a->build_id_len == b->build_id_len &&
		memcmp(a->build_id, b->build_id, a->build_id_len) == 0 && a->headers == b->headers && strcmp(a->path, b->path) == 0;
}

/* Returns the entry of a library, a new one if there is none. Two threads may each add
 * one for the same library. The reader merges them. */
static struct entry *entry_of(const struct gojemalloc_library *library)
{
	unsigned len = atomic_load(&entries_len);

	for (unsigned i = 0; i < len && i < GOJEMALLOC_LIBRARIES; i++)
		if (atomic_load(&entries[i].ready) && same(&entries[i].library, library))
			return &entries[i];
	if (len >= GOJEMALLOC_LIBRARIES || (len = atomic_fetch_add(&entries_len, 1)) >= GOJEMALLOC_LIBRARIES) {
		atomic_store(&more, true);
		return NULL;
	}
	entries[len].library = *library;
	atomic_store(&entries[len].ready, true);
	return &entries[len];
}

static void note_pc(struct entry *e, uintptr_t pc)
{
	unsigned value = pc - e->library.start + 1, i = value * 2654435761u;

	for (unsigned tries = 0; tries < PCS; tries++, i++) {
		unsigned there = 0;

		if (atomic_load(&e->pcs[i % PCS]) == value ||
			atomic_compare_exchange_strong(&e->pcs[i % PCS], &there, value) || there == value)
			return;
	}
	atomic_store(&e->full, true);
}

void gojemalloc_libraries_note(void *const *pcs, unsigned len)
{
	if (page == 0)
		return;
	for (unsigned i = 0; i < len; i++) {
		/* A return address may be directly after the end of the code, so the address of
		 * the call, pc - 1, is looked up. */
		uintptr_t pc = (uintptr_t)pcs[i];
		struct gojemalloc_library library;
		struct entry *e;

		if (!is_fixed(pc - 1) && describe(pc - 1, &library) && (e = entry_of(&library)) != NULL)
			note_pc(e, pc);
	}
}

unsigned gojemalloc_libraries_get(unsigned i, struct gojemalloc_library *library, uintptr_t *pcs, bool *full)
{
	struct entry *e = &entries[i];
	unsigned n = 0;

	memset(library, 0, sizeof *library);
	if (!atomic_load(&e->ready))
		return 0;
	*library = e->library;
	*full = atomic_load(&e->full);
	for (unsigned j = 0; j < PCS; j++) {
		unsigned value = atomic_load(&e->pcs[j]);
		if (value != 0)
			pcs[n++] = library->start + value - 1;
	}
	return n;
}

unsigned gojemalloc_libraries_len(void)
{
	unsigned len = atomic_load(&entries_len);
	return len < GOJEMALLOC_LIBRARIES ? len : GOJEMALLOC_LIBRARIES;
}

bool gojemalloc_libraries_more(void) { return atomic_load(&more); }
