/* Memory of the agent's own, for small blocks that are sampled.
 *
 * A sampled block has to be recognised when it is freed. An address in a range of the
 * agent's own is recognised by one comparison. The alternative, a page-aligned block of the
 * process's own malloc, is right as well, and large blocks are made so (sampler.c). For
 * small ones it was measured with glibc: each aligned block splits a chunk of the heap, so
 * that the calls after it find no fitting chunk and search. A program that only mallocs and
 * frees needed half as much time again, at one sample in 512 KiB. With blocks from here it
 * was the time of the samples alone.
 *
 * The range is not reserved, because a program may bound its address space (RLIMIT_AS), and
 * 32 GiB that nobody uses would count. Only its place is chosen at the start, somewhere in
 * the middle of the address space, where neither the kernel nor Go puts anything by itself.
 * Memory is mapped there in spans, if nobody else has memory there. It is never unmapped,
 * because blocks in it may live as long as the process. A span has slots of one size:
 *
 *	span:  | slot | slot | slot | ... never used ... |
 *	          |             ^
 *	          '- free ------'        free slots are linked through their first bytes
 *
 * A free slot has a mark in its second word, as in glibc. By it a second free of a block is
 * noticed, which would give the slot to two owners. It ends the process, as malloc does.
 *
 * Spans that have a free slot are in the list of their size. If no slot of a span is in use
 * and there is more than WARM of such memory, the span's pages go back to the kernel. Less
 * than that stays, because giving back and faulting in again costs more than all else. */
#define _GNU_SOURCE
#include "region.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

enum {
	SPAN_BITS = 18,
	SPAN = 1 << SPAN_BITS,
	SMALL_CLASSES = 8, /* of 16 to 128 bytes, in steps of 16; above there are four to a power of two */
	CLASSES = SMALL_CLASSES + 4 * 9,
	WARM = 1 << 20,
};

#define SPANS (AGENT_REGION_SIZE >> SPAN_BITS)

/* Spans have their numbers plus 1, so that 0 is none; slots too. */
struct span {
	uint32_t next, previous; /* in the list of its class */
	uint32_t free;           /* the first free slot */
	uint32_t used;           /* slots that were ever used since its pages are zeros */
	uint32_t live;           /* slots in use */
	uint8_t class;
	bool listed;
	bool mapped;
};

/* No pointer is that large, nor is the range after it. */
uintptr_t agent_region_start = UINTPTR_MAX - AGENT_REGION_SIZE;

static struct agent_lock lock;
static struct span *spans;
static uint32_t begun;            /* spans that were ever tried */
static uint32_t empty;            /* a list of spans that have no class, through next */
static uint32_t with_room[CLASSES];
static uint64_t warm;             /* bytes of spans without a slot in use */
static uint64_t free_bytes;       /* of free slots that were used */

static unsigned class_of(size_t n)
{
	unsigned e;

	if (n <= 16 * SMALL_CLASSES)
		return n == 0 ? 0 : (unsigned)((n - 1) / 16);
	e = 63 - (unsigned)__builtin_clzll(n - 1); /* 2^e < n <= 2^(e+1) */
	return SMALL_CLASSES + (e - 7) * 4 + (unsigned)((n - 1 - ((size_t)1 << e)) >> (e - 2));
}

static size_t size_of(unsigned class)
{
	unsigned e, k;

	if (class < SMALL_CLASSES)
		return (class + 1) * 16;
	e = 7 + (class - SMALL_CLASSES) / 4;
	k = (class - SMALL_CLASSES) % 4;
	return ((size_t)1 << e) + (k + 1) * ((size_t)1 << (e - 2));
}

/* The first words of a free slot. */
struct free_slot {
	uint32_t next;
	uint64_t mark;
};

_Static_assert(sizeof(struct free_slot) <= 16, "it fits into the smallest slot");

/* The mark differs from process to process, so that no data look like it. */
static uint64_t mark_of(const void *p) { return (uintptr_t)p ^ agent_region_start * 0x9e3779b97f4a7c15u; }

/* Ends the process. The program may have a handler of SIGABRT, which may allocate. */
static void refuse_free(const char *why)
{
	agent_unlock(&lock);
	(void)!write(STDERR_FILENO, why, strlen(why));
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGABRT);
	abort();
}

static struct span *span_at(uint32_t number) { return &spans[number - 1]; }
static char *memory_of(uint32_t number) { return (char *)agent_region_start + (uintptr_t)(number - 1) * SPAN; }
static uint32_t number_at(const void *p) { return (uint32_t)(((uintptr_t)p - agent_region_start) >> SPAN_BITS) + 1; }
static uint32_t slots_of(const struct span *s) { return (uint32_t)(SPAN / size_of(s->class)); }

static void enlist(uint32_t number)
{
	struct span *s = span_at(number);

	if (s->listed)
		return;
	s->listed = true;
	s->previous = 0;
	s->next = with_room[s->class];
	if (s->next != 0)
		span_at(s->next)->previous = number;
	with_room[s->class] = number;
}

static void delist(uint32_t number)
{
	struct span *s = span_at(number);

	if (!s->listed)
		return;
	s->listed = false;
	*(s->previous != 0 ? &span_at(s->previous)->next : &with_room[s->class]) = s->next;
	if (s->next != 0)
		span_at(s->next)->previous = s->previous;
}

/* Maps the memory of the next span that was never used. Returns 0 if the kernel refuses. */
static uint32_t map_span(void)
{
	enum { TRIES = 16 }; /* at places where others have memory */
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;

	for (int i = 0; i < TRIES && begun < SPANS; i++) {
		char *wanted = memory_of(begun + 1), *got = mmap(wanted, SPAN, PROT_READ | PROT_WRITE, flags, -1, 0);

		if (got == wanted) {
			/* Huge pages would make two MiB resident for the first block of each size. */
			madvise(got, SPAN, MADV_NOHUGEPAGE);
			return ++begun;
		}
		if (got == MAP_FAILED && errno != EEXIST)
			return 0;
		if (got != MAP_FAILED) /* kernels before 4.17 do not know the flag */
			munmap(got, SPAN);
		begun++;
	}
	return 0;
}

/* A span for a class that has none with room. Its pages are zeros. */
static uint32_t new_span(unsigned class)
{
	uint32_t number = empty;
	int saved_errno = errno;

	if (number != 0)
		empty = span_at(number)->next;
	else
		number = map_span();
	errno = saved_errno;
	if (number == 0)
		return 0;
	*span_at(number) = (struct span){.class = (uint8_t)class, .mapped = true};
	enlist(number);
	return number;
}

/* The bytes of a span that were used since its pages were zeros. */
static uint64_t used_bytes(const struct span *s) { return (uint64_t)s->used * size_of(s->class); }

void *agent_region_allocate(size_t n, size_t alignment, bool zero)
{
	uint32_t number;
	struct span *s;
	bool is_zero = true;
	unsigned class;
	size_t size;
	char *p;

	if (n > AGENT_REGION_LARGEST || alignment > AGENT_REGION_ALIGNMENT || spans == NULL)
		return NULL;
	if (alignment > 16) { /* slots of 2^n bytes are aligned to their size, and to pages */
		n = n < alignment ? alignment : n;
		n = (size_t)1 << (64 - __builtin_clzll(n - 1));
	}
	class = class_of(n);
	size = size_of(class);
	agent_lock(&lock);
	number = with_room[class];
	if (number == 0)
		number = new_span(class);
	if (number == 0) {
		agent_unlock(&lock);
		return NULL;
	}
	s = span_at(number);
	if (s->live++ == 0)
		warm -= used_bytes(s);
	if (s->free != 0) {
		struct free_slot *slot = (struct free_slot *)(memory_of(number) + (s->free - 1) * size);

		p = (char *)slot;
		s->free = slot->next;
		slot->mark = 0;
		free_bytes -= size;
		is_zero = false;
	} else {
		p = memory_of(number) + s->used++ * size;
	}
	if (s->free == 0 && s->used == slots_of(s))
		delist(number);
	agent_unlock(&lock);
	if (zero && !is_zero)
		memset(p, 0, n);
	return p;
}

/* Gives the pages of a span that has no slot in use back to the kernel. */
static void release(uint32_t number)
{
	struct span *s = span_at(number);
	int saved_errno = errno;

	if (madvise(memory_of(number), SPAN, MADV_DONTNEED) == 0) {
		warm -= used_bytes(s);
		free_bytes -= used_bytes(s);
		delist(number);
		s->next = empty;
		empty = number;
	}
	errno = saved_errno;
}

void agent_region_free(void *p)
{
	uint32_t number = number_at(p);
	struct span *s = span_at(number);
	size_t size = size_of(s->class), at = (size_t)((char *)p - memory_of(number));
	struct free_slot *slot = p;

	agent_lock(&lock);
	if (at % size != 0 || at / size >= s->used)
		refuse_free("free(): invalid pointer\n");
	if (s->live == 0 || slot->mark == mark_of(p))
		refuse_free("free(): double free detected\n");
	*slot = (struct free_slot){s->free, mark_of(p)};
	s->free = (uint32_t)(at / size) + 1;
	free_bytes += size;
	enlist(number);
	if (--s->live == 0) {
		warm += used_bytes(s);
		if (warm > WARM)
			release(number);
	}
	agent_unlock(&lock);
}

size_t agent_region_block_size(const void *p) { return size_of(span_at(number_at(p))->class); }

uint64_t agent_region_bytes(void)
{
	uint64_t bytes;

	agent_lock(&lock);
	bytes = free_bytes + begun * sizeof *spans;
	agent_unlock(&lock);
	return bytes;
}

bool agent_region_owns(const void *p) { return agent_region_has(p) && span_at(number_at(p))->mapped; }

void agent_region_choose(void)
{
	/* From 18 TiB to 30 TiB: above what linkers use for programs, below what the kernel uses
	 * for mappings and stacks, and beside what the sanitizers use for their shadows. The
	 * kernel has put the agent itself at a random address. */
	const uintptr_t lowest = (uintptr_t)18 << 40, places = ((uintptr_t)12 << 40) / AGENT_REGION_SIZE;
	uintptr_t random = ((uintptr_t)&agent_region_start >> 12) * 0x9e3779b97f4a7c15u >> 32;
	struct span *table = agent_map(SPANS * sizeof *table);

	if (table == NULL)
		return;
	spans = table;
	/* Blocks are freed by threads that have got them, and so after this store. */
	__atomic_store_n(&agent_region_start, lowest + random % places * AGENT_REGION_SIZE, __ATOMIC_RELEASE);
}

void agent_region_before_fork(void) { agent_lock(&lock); }

void agent_region_after_fork(bool in_child)
{
	if (in_child)
		agent_lock_reset(&lock);
	else
		agent_unlock(&lock);
}
