/* The table of stacks.
 *
 * A stack is a record in a chunk of memory from the kernel. Three tables lead to it:
 *
 *   slots    hash of the pcs -> number of the stack    (open addressing)
 *   records  number          -> record                 (blocks keep this number)
 *   chunks   list            -> all records, back to back
 *
 * A program may come by ever new stacks, for example recursive ones, or those of code that is
 * compiled at run time. So the memory is bounded: what the stacks with live blocks need,
 * and SPARE bytes or a quarter. When it is used up, a sweep drops the stacks that have no live block and
 * were not seen since the last sweep. Their all-counts go to the record OTHERS, whose
 * stack is empty. The sweep then slides the remaining records together, towards the start of
 * the list of chunks. A record never moves to a later chunk, so this needs no memory.
 *
 * Every function runs under the lock of the profile, so plain loads and stores do. */
#define _GNU_SOURCE
#include "stacks.h"

#include <string.h>
#include <sys/mman.h>

#include "internal.h"

enum { CHUNK = 256 << 10, SPARE = 2 << 20, STEP = 512 << 10, FIRST_STACKS = 1 << 10, OTHERS = 0 };

struct record {
	uint64_t hash;
	struct agent_counts counts;
	uint32_t number;
	uint32_t len;
	bool seen; /* since the last sweep */
	uintptr_t pcs[];
};

struct chunk {
	struct chunk *next;
	uint32_t used; /* with this header */
	_Alignas(16) char bytes[];
};

/* records has room for `room` stacks, and slots for twice as many. */
static struct record **records;
static uint32_t *slots; /* number + 1, or 0 */
static uint32_t room, numbers, free_number;
static struct chunk *chunks, *last_chunk;

static struct agent_counts totals;
static uint64_t dropped;
static uint64_t used_bytes, live_bytes; /* of all records, of those with live blocks */
static uint64_t next_sweep;             /* the value of used_bytes at which it is due */
static uint32_t count;                  /* of the stacks but OTHERS */

static size_t record_size(uint32_t len)
{
	return sizeof(struct record) + len * sizeof(uintptr_t);
}

uint64_t agent_stacks_hash(const uintptr_t *pcs, uint32_t len)
{
	uint64_t h = len;

	for (uint32_t i = 0; i < len; i++) {
		h = (h ^ pcs[i]) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	return h;
}

static struct record *first_in(struct chunk *c) { return (struct record *)c->bytes; }
static char *end_of(struct chunk *c) { return (char *)c + c->used; }
static struct record *after(struct record *r) { return (struct record *)((char *)r + record_size(r->len)); }

static struct chunk *add_chunk(void)
{
	struct chunk *c = agent_map(CHUNK);

	if (c == NULL)
		return NULL;
	c->used = sizeof *c;
	*(last_chunk != NULL ? &last_chunk->next : &chunks) = c;
	last_chunk = c;
	return c;
}

static void free_chunks(struct chunk *c)
{
	while (c != NULL) {
		struct chunk *next = c->next;

		munmap(c, CHUNK);
		c = next;
	}
}

/* The slot of a stack, or the empty one where it belongs. */
static uint32_t *slot_of(const uintptr_t *pcs, uint32_t len, uint64_t hash)
{
	uint32_t mask = room * 2 - 1, at = (uint32_t)hash & mask;

	for (; slots[at] != 0; at = (at + 1) & mask) {
		const struct record *r = records[slots[at] - 1];

		if (r->hash == hash && r->len == len && memcmp(r->pcs, pcs, len * sizeof *pcs) == 0)
			break;
	}
	return &slots[at];
}

/* Fills the slots anew, from the records. OTHERS has no slot. */
static void fill_slots(void)
{
	memset(slots, 0, room * 2 * sizeof *slots);
	for (uint32_t i = OTHERS + 1; i < numbers; i++)
		if (records[i] != NULL)
			*slot_of(records[i]->pcs, records[i]->len, records[i]->hash) = i + 1;
}

/* Doubles records and slots. */
static bool grow(void)
{
	uint32_t bigger = room == 0 ? FIRST_STACKS : room * 2;
	struct record **new_records = bigger < AGENT_NO_STACK / 4 ? agent_map(bigger * sizeof *records) : NULL;
	uint32_t *new_slots = new_records != NULL ? agent_map(bigger * 2 * sizeof *slots) : NULL;

	if (new_slots == NULL) {
		if (new_records != NULL)
			munmap(new_records, bigger * sizeof *records);
		return false;
	}
	if (room != 0) {
		memcpy(new_records, records, numbers * sizeof *records);
		munmap(records, room * sizeof *records);
		munmap(slots, room * 2 * sizeof *slots);
	}
	records = new_records;
	slots = new_slots;
	room = bigger;
	fill_slots();
	return true;
}

static struct record *add_record(uint32_t len)
{
	struct chunk *c = last_chunk;
	struct record *r;

	if (c == NULL || c->used + record_size(len) > CHUNK)
		c = add_chunk();
	if (c == NULL)
		return NULL;
	r = (struct record *)end_of(c);
	c->used += record_size(len);
	used_bytes += record_size(len);
	return r;
}

/* A sweep reads all records. If there are many, it pays only after more new ones. */
static void plan_sweep(void)
{
	uint64_t bound = live_bytes + SPARE, soon = used_bytes + (used_bytes / 4 > STEP ? used_bytes / 4 : STEP);

	next_sweep = bound > soon ? bound : soon;
}

/* Makes the tables empty but for OTHERS. */
static bool start_empty(void)
{
	struct record *others;

	totals = (struct agent_counts){0};
	used_bytes = live_bytes = dropped = 0;
	count = numbers = free_number = 0;
	memset(slots, 0, room * 2 * sizeof *slots);
	others = add_record(0);
	if (others == NULL)
		return false;
	memset(others, 0, sizeof *others);
	records[numbers++] = others;
	plan_sweep();
	return true;
}

bool agent_stacks_start(void)
{
	return grow() && start_empty();
}

/* The first chunk stays, so there is always room for OTHERS. */
void agent_stacks_clear(void)
{
	free_chunks(chunks->next);
	chunks->next = NULL;
	chunks->used = sizeof *chunks;
	last_chunk = chunks;
	memset(records, 0, numbers * sizeof *records);
	start_empty();
}

/* Moves a record down to the chunk *to, or to the next one if *to is full. */
static void slide(struct chunk **to, struct record *r)
{
	size_t size = record_size(r->len);
	struct record *moved;

	if ((*to)->used + size > CHUNK) {
		*to = (*to)->next;
		(*to)->used = sizeof **to;
	}
	moved = (struct record *)end_of(*to);
	(*to)->used += size;
	memmove(moved, r, size);
	records[moved->number] = moved;
}

static void drop(struct record *r)
{
	struct record *others = records[OTHERS];

	others->counts.all_objects += r->counts.all_objects;
	others->counts.all_bytes += r->counts.all_bytes;
	others->counts.all.objects += r->counts.all.objects;
	others->counts.all.bytes += r->counts.all.bytes;
	used_bytes -= record_size(r->len);
	records[r->number] = NULL;
	if (free_number == 0 || r->number < free_number)
		free_number = r->number;
	count--;
	dropped++;
}

static void sweep(void)
{
	struct chunk *to = chunks;

	/* `end` is read before the chunk is filled anew. */
	for (struct chunk *from = chunks; from != NULL; from = from->next) {
		struct record *r = first_in(from), *next;
		char *end = end_of(from);

		if (from == chunks)
			from->used = sizeof *from;
		for (; (char *)r < end; r = next) {
			next = after(r);
			if (r->number != OTHERS && r->counts.live_objects == 0 && !r->seen) {
				drop(r);
				continue;
			}
			r->seen = false;
			slide(&to, r);
		}
	}
	free_chunks(to->next);
	to->next = NULL;
	last_chunk = to;
	fill_slots();
	plan_sweep();
}

/* A number that no stack has. Those of dropped stacks come first. */
static uint32_t take_number(void)
{
	while (free_number != 0) {
		uint32_t n = free_number;

		free_number = n + 1 < numbers ? n + 1 : 0;
		if (records[n] == NULL)
			return n;
	}
	if (numbers == room && !grow())
		return AGENT_NO_STACK;
	return numbers++;
}

uint32_t agent_stacks_number(const uintptr_t *pcs, uint32_t len, uint64_t hash)
{
	uint32_t *slot, n;
	struct record *r;

	if (len == 0) /* OTHERS has the empty stack */
		return OTHERS;
	slot = slot_of(pcs, len, hash);
	if (*slot != 0) {
		records[*slot - 1]->seen = true;
		return *slot - 1;
	}
	if (used_bytes + record_size(len) > next_sweep)
		sweep();
	n = take_number();
	if (n == AGENT_NO_STACK)
		return n;
	r = add_record(len);
	if (r == NULL) {
		free_number = free_number == 0 || n < free_number ? n : free_number;
		return AGENT_NO_STACK;
	}
	*r = (struct record){.hash = hash, .number = n, .len = len, .seen = true};
	memcpy(r->pcs, pcs, len * sizeof *pcs);
	records[n] = r;
	*slot_of(pcs, len, hash) = n + 1; /* again, because the slots may have changed */
	count++;
	return n;
}

static void add(struct agent_counts *c, uint64_t size, struct agent_estimate e)
{
	c->live_objects++;
	c->live_bytes += size;
	c->all_objects++;
	c->all_bytes += size;
	c->live.objects += e.objects;
	c->live.bytes += e.bytes;
	c->all.objects += e.objects;
	c->all.bytes += e.bytes;
}

static void subtract(struct agent_counts *c, uint64_t size, struct agent_estimate e)
{
	c->live_objects--;
	c->live_bytes -= size;
	c->live.objects -= e.objects;
	c->live.bytes -= e.bytes;
}

void agent_stacks_allocated(uint32_t stack, uint64_t size, uint64_t period)
{
	struct agent_estimate e = agent_estimate(size, period);
	struct record *r = records[stack];

	if (r->counts.live_objects == 0)
		live_bytes += record_size(r->len);
	add(&r->counts, size, e);
	add(&totals, size, e);
}

void agent_stacks_freed(uint32_t stack, uint64_t size, uint64_t period)
{
	struct agent_estimate e = agent_estimate(size, period);
	struct record *r = records[stack];

	subtract(&r->counts, size, e);
	subtract(&totals, size, e);
	if (r->counts.live_objects == 0)
		live_bytes -= record_size(r->len);
}

void agent_stacks_totals(struct agent_counts *t) { *t = totals; }
uint64_t agent_stacks_count(void) { return count; }
uint64_t agent_stacks_dropped(void) { return dropped; }

uint64_t agent_stacks_bytes(void)
{
	return used_bytes + numbers * sizeof *records + room * 2 * sizeof *slots;
}

size_t agent_stacks_copy_size(void) { return used_bytes; }

size_t agent_stacks_copy(void *buffer)
{
	char *to = buffer;

	for (struct chunk *c = chunks; c != NULL; c = c->next)
		for (struct record *r = first_in(c); (char *)r < end_of(c); r = after(r)) {
			if (r->counts.all_objects == 0)
				continue;
			memcpy(to, r, record_size(r->len));
			to += record_size(r->len);
		}
	return (size_t)(to - (char *)buffer);
}

size_t agent_stacks_read(const void *copy, struct agent_stack *stack)
{
	const struct record *r = copy;

	*stack = (struct agent_stack){
		.live_objects = r->counts.live_objects,
		.live_bytes = r->counts.live_bytes,
		.all_objects = r->counts.all_objects,
		.all_bytes = r->counts.all_bytes,
		.live = r->counts.live,
		.all = r->counts.all,
		.pcs = r->pcs,
		.len = r->len,
	};
	return record_size(r->len);
}
