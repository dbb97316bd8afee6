/* Finds the Go program of this process in memory and reads its function table.
 *
 * A Go program need not have a symbol table, and a section called .gopclntab neither (1.25
 * and later have none in position independent programs). But the runtime itself needs the
 * table for its own stack traces, and finds it by runtime.firstmoduledata. That structure
 * lies in writable data and begins with a pointer to the table's header, which begins with
 * a magic number. So the search goes through the data for words that can be such a structure:
 * slices whose length is their capacity, and two pointers that are equal. It then looks at
 * the header, where ten words must agree with the structure. Data is a small part of a
 * program, and constants and code, which may be large, are not read at all. The dynamic
 * linker has relocated the pointers before any of this runs.
 *
 * The structures are those of Go 1.20 to 1.26: runtime/symtab.go (moduledata, pcHeader),
 * runtime/runtime2.go (_func), runtime/symtabinl.go (inlinedCall). Go changes the magic
 * number if it changes the table (abi.Go120PCLnTabMagic), so another one is not found. */
#define _GNU_SOURCE
#include "goimage.h"

#include <link.h>
#include <string.h>

/* runtime._func. npcdata words follow, then nfuncdata words. */
struct func {
	uint32_t entry;
	int32_t name, args;
	uint32_t deferreturn, pcsp, pcfile, pcln, npcdata, unit;
	int32_t start_line;
	uint8_t id, flag, pad, nfuncdata;
};

/* runtime.inlinedCall */
struct inlined {
	uint8_t id, pad[3];
	int32_t name, parent, start_line;
};

enum {
	PCDATA_INLINES = 2,   /* abi.PCDATA_InlTreeIndex */
	FUNCDATA_INLINES = 3, /* abi.FUNCDATA_InlTree */
};

/* Words of runtime.pcHeader. */
enum { H_NFUNC = 1, H_NAMES = 4, H_UNITS, H_FILES, H_VALUES, H_FUNCS, H_WORDS };

/* Words of runtime.moduledata. Slices have three. */
enum {
	M_HEADER = 0,
	M_NAMES = 1,
	M_UNITS = 4,
	M_FILES = 7,
	M_VALUES = 10,
	M_FUNCS = 13,
	M_FTAB = 16,
	M_MINPC = 20,
	M_MAXPC,
	M_TEXT,
	M_ETEXT,
	M_GOFUNC = 40,
	M_WORDS,
};

/* The search reads all of an object's data. Between variables the address sanitizer has
 * memory that no code may read, so it must not check these functions. */
#define READS_ALL __attribute__((no_sanitize_address))

READS_ALL static bool is_module(const uintptr_t *m, const uintptr_t *h)
{
	const uintptr_t at = (uintptr_t)h;

	return m[M_HEADER] == at && m[M_NAMES] == at + h[H_NAMES] && m[M_UNITS] == at + h[H_UNITS] &&
		m[M_FILES] == at + h[H_FILES] && m[M_VALUES] == at + h[H_VALUES] && m[M_FUNCS] == at + h[H_FUNCS] &&
		m[M_FTAB] == at + h[H_FUNCS] && m[M_FTAB + 1] == h[H_NFUNC] + 1 && m[M_MINPC] >= m[M_TEXT] &&
		m[M_MAXPC] <= m[M_ETEXT] && m[M_MINPC] < m[M_MAXPC];
}

READS_ALL static void read_module(struct goimage *image, const uintptr_t *m)
{
	*image = (struct goimage){
		.names = (const char *)m[M_NAMES],
		.units = (const uint32_t *)m[M_UNITS],
		.nunits = m[M_UNITS + 1],
		.files = (const char *)m[M_FILES],
		.values = (const uint8_t *)m[M_VALUES],
		.nvalues = m[M_VALUES + 1],
		.funcs = (const uint8_t *)m[M_FUNCS],
		.ftab = (const struct goimage_ftab *)m[M_FTAB],
		.nfunc = m[M_FTAB + 1] - 1,
		.text = m[M_TEXT],
		.etext = m[M_ETEXT],
		.gofunc = m[M_GOFUNC],
	};
}

struct span {
	const char *start, *end;
};

static struct span segment(const struct dl_phdr_info *info, int i)
{
	const ElfW(Phdr) *p = &info->dlpi_phdr[i];
	const char *base = (const char *)info->dlpi_addr;

	return (struct span){base + ((p->p_vaddr + 7) & ~(ElfW(Addr))7), base + p->p_vaddr + p->p_filesz};
}

static bool loaded_with(const struct dl_phdr_info *info, int i, unsigned flags)
{
	const ElfW(Phdr) *p = &info->dlpi_phdr[i];
	return p->p_type == PT_LOAD && (p->p_flags & flags) == flags;
}

static bool has_address(const struct dl_phdr_info *info, uintptr_t address)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		if (p->p_type == PT_LOAD && address - (info->dlpi_addr + p->p_vaddr) < p->p_memsz)
			return true;
	}
	return false;
}

struct search {
	struct goimage *image;
	uintptr_t near;
	bool found, other; /* other: a Go program of an unknown version */
};

/* The first word of runtime.pcHeader: abi.Go120PCLnTabMagic, two bytes of zero, the size of
 * the least instruction, that of a pointer. Other versions differ in the first byte only,
 * which so far has never been below 0xe0. */
static const uint64_t magic = 0xfffffff1 |
#if defined(__aarch64__)
	UINT64_C(4) << 48 |
#else
	UINT64_C(1) << 48 |
#endif
	UINT64_C(8) << 56;

/* Whether an object has readable memory at an address. */
static bool is_readable(const struct dl_phdr_info *info, uintptr_t address, size_t n)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t at = address - (info->dlpi_addr + p->p_vaddr);

		if (loaded_with(info, i, PF_R) && at < p->p_filesz && n <= p->p_filesz - at)
			return true;
	}
	return false;
}

/* Whether the words can be a moduledata. It is asked for each word of all data, so it looks
 * at nothing but the words themselves: the slices have been made by the linker, so their
 * capacity is their length, and the functions begin where their table begins. */
READS_ALL static inline bool may_be_module(const uintptr_t *m)
{
	return m[M_FUNCS] == m[M_FTAB] && m[M_FUNCS] != 0 && m[M_NAMES + 1] == m[M_NAMES + 2] && m[M_UNITS + 1] == m[M_UNITS + 2] &&
		m[M_FILES + 1] == m[M_FILES + 2] && m[M_VALUES + 1] == m[M_VALUES + 2] && m[M_FTAB + 1] == m[M_FTAB + 2] &&
		m[M_FTAB + 1] > 1 && m[M_FTAB + 1] <= 1u << 26 && m[M_HEADER] < m[M_NAMES] && m[M_NAMES] < m[M_FUNCS] && m[M_HEADER] % 8 == 0;
}

READS_ALL static bool search_data(const struct dl_phdr_info *info, int i, struct search *search)
{
	struct span s = segment(info, i);

	for (; s.start + M_WORDS * sizeof(uintptr_t) <= s.end; s.start += sizeof(uintptr_t)) {
		const uintptr_t *m = (const void *)s.start, *h;

		if (!may_be_module(m) || !is_readable(info, m[M_HEADER], H_WORDS * sizeof *h))
			continue;
		h = (const uintptr_t *)m[M_HEADER];
		if (*h == magic && is_module(m, h)) {
			read_module(search->image, m);
			return search->found = true;
		}
		search->other |= ((*h ^ magic) & ~UINT64_C(0xff)) == 0 && (*h & 0xff) >= 0xe0;
	}
	return false;
}

/* Called for each object. Ends the search if it returns a value other than 0. */
static int search_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct search *search = arg;

	(void)size;
	if (search->near != 0 && !has_address(info, search->near))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (loaded_with(info, i, PF_R | PF_W) && search_data(info, i, search))
			return 1;
	return search->near != 0;
}

bool goimage_find(struct goimage *image, uintptr_t near, const char **why)
{
	struct search search = {.image = image, .near = near};

	memset(image, 0, sizeof *image);
	dl_iterate_phdr(search_object, &search);
	image->unknown = !search.found && search.other;
	if (!search.found)
#if defined(__x86_64__) || defined(__aarch64__)
		*why = search.other ? "the function table is that of a Go version that is unknown here" : "there is no function table of Go";
#else
		*why = "no unwinder for Go is written for this processor";
#endif
	return search.found;
}

static const struct func *func_at(const struct goimage *image, size_t index)
{
	return (const struct func *)(image->funcs + image->ftab[index].func);
}

bool goimage_function(const struct goimage *image, uintptr_t pc, size_t *index)
{
	size_t low = 0, high = image->nfunc;

	if (!goimage_has(image, pc) || image->nfunc == 0)
		return false;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (image->ftab[middle].entry <= pc - image->text)
			low = middle;
		else
			high = middle;
	}
	*index = low;
	return true;
}

const char *goimage_name(const struct goimage *image, size_t index)
{
	return image->names + func_at(image, index)->name;
}

bool goimage_begins(const struct goimage *image, uintptr_t pc, const char *name)
{
	size_t i;

	return goimage_function(image, pc, &i) && image->text + image->ftab[i].entry == pc && strcmp(goimage_name(image, i), name) == 0;
}

bool goimage_named(const struct goimage *image, const char *name,
	bool (*fn)(void *arg, uintptr_t start, uintptr_t end), void *arg)
{
	for (size_t i = 0; i < image->nfunc; i++)
		if (strcmp(goimage_name(image, i), name) == 0 &&
			fn(arg, image->text + image->ftab[i].entry, image->text + image->ftab[i + 1].entry))
			return true;
	return false;
}

/* Reads a number of 7 bits a byte. Its end is within the table, or the result is 0. */
static uint32_t read_varint(const struct goimage *image, size_t *at)
{
	uint32_t value = 0;

	for (int shift = 0; *at < image->nvalues && shift < 35; shift += 7) {
		uint8_t byte = image->values[(*at)++];

		value |= (uint32_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
	return 0;
}

/* The value of a table at an instruction, -1 if it has none (runtime.pcvalue). */
static int32_t value_at(const struct goimage *image, const struct func *f, size_t table, uintptr_t pc)
{
	uintptr_t at = image->text + f->entry;
	int32_t value = -1;

	if (table == 0)
		return -1;
	for (bool first = true; table < image->nvalues; first = false) {
		uint32_t difference = read_varint(image, &table);

		if (difference == 0 && !first)
			return -1;
		value += difference & 1 ? ~(int32_t)(difference >> 1) : (int32_t)(difference >> 1);
		at += read_varint(image, &table)
#if defined(__aarch64__)
			* 4
#endif
			;
		if (pc < at)
			return value;
	}
	return -1;
}

int32_t goimage_frame_size(const struct goimage *image, uintptr_t pc)
{
	size_t i;

	if (!goimage_function(image, pc, &i))
		return -1;
	return value_at(image, func_at(image, i), func_at(image, i)->pcsp, pc);
}

/* The calls that the compiler inlined into a function, or NULL if there are none. */
static const struct inlined *inlines_of(const struct goimage *image, const struct func *f, uint32_t *table)
{
	const uint32_t *pcdata = (const uint32_t *)(f + 1), *funcdata = pcdata + f->npcdata;

	if (f->npcdata <= PCDATA_INLINES || f->nfuncdata <= FUNCDATA_INLINES || funcdata[FUNCDATA_INLINES] == UINT32_MAX)
		return NULL;
	*table = pcdata[PCDATA_INLINES];
	return (const struct inlined *)(image->gofunc + funcdata[FUNCDATA_INLINES]);
}

bool goimage_frames_first(const struct goimage *image, uintptr_t pc, struct goimage_frame *frame)
{
	if (!goimage_function(image, pc, &frame->index))
		return false;
	frame->pc = pc;
	frame->more = true;
	return goimage_frames_next(image, frame);
}

bool goimage_frames_next(const struct goimage *image, struct goimage_frame *frame)
{
	const struct func *f = func_at(image, frame->index);
	const struct inlined *inlines;
	uint32_t table, unit;
	int32_t file, inlined;

	if (!frame->more)
		return false;
	inlines = inlines_of(image, f, &table);
	inlined = inlines != NULL ? value_at(image, f, table, frame->pc) : -1;
	file = value_at(image, f, f->pcfile, frame->pc);
	frame->line = value_at(image, f, f->pcln, frame->pc);
	frame->function = image->names + (inlined >= 0 ? inlines[inlined].name : f->name);
	frame->file = "?";
	if (file >= 0 && (size_t)f->unit + file < image->nunits && (unit = image->units[f->unit + file]) != UINT32_MAX)
		frame->file = image->files + unit;
	frame->more = inlined >= 0;
	if (inlined >= 0)
		frame->pc = image->text + f->entry + inlines[inlined].parent;
	return true;
}
