/* The table of live sampled blocks: open addressing with linear probing.
 *
 * About one in 128 blocks that nobody sampled has an address that a sampled block could have,
 * and each free of such a block asks the table. So a lookup takes no lock. It is safe
 * because of these rules:
 *
 * 1. A lookup that finds the address is right. The address of a live block that was not
 *    sampled is not in the table: who had that address before removed it before the block
 *    was freed, and so before malloc gave the address to its present owner.
 * 2. A lookup that does not find the address may have looked while a writer moved entries.
 *    Writers make the sequence counter odd before their first store and even after their
 *    last. The lookup counts only if the counter was even and is unchanged. If this fails
 *    several times, the lookup takes the lock.
 * 3. The memory of a table that was replaced stays mapped, because a lookup may still be in
 *    it. Its pages are given back to the kernel. They read as zeros, which is an empty table.
 *
 * All stores to entries are releases and all loads of lookups are acquires, instead of
 * fences. On amd64 both are plain moves. A lookup that sees a store of a writer therefore
 * sees that writer's odd counter too. */
#define _GNU_SOURCE
#include "blocks.h"

#include <errno.h>
#include <sys/mman.h>

#include "internal.h"

/* address is 0 if the entry is empty. */
struct entry {
	uint64_t address;
	uint64_t size;
	uint32_t stack;
	uint32_t unused;
};

/* 2^MIN_BITS entries fill three pages. The table grows when three quarters are in use. Then
 * it has 3/8 in use, which makes 64 bytes for each block. */
enum { MIN_BITS = 9, MAX_BITS = 40, PAGE = 4096, TRIES = 8 };

/* The address of the entries, which is page-aligned, and in its low bits the binary
 * logarithm of their number. So a lookup gets both by one load. */
static uint64_t table;
static uint64_t sequence;
static uint64_t count;

/* Tables that were replaced, by size, to be used again. */
static uint64_t replaced[MAX_BITS + 1];

static struct entry *entries_of(uint64_t t) { return (struct entry *)(t & ~(uint64_t)(PAGE - 1)); }
static unsigned bits_of(uint64_t t) { return t & (PAGE - 1); }
static uint64_t size_of(uint64_t t) { return sizeof(struct entry) << bits_of(t); }

/* Fibonacci hashing. The high bits are used, so in a table of double size the entries come
 * in the same order. */
static uint64_t home(uint64_t address, unsigned bits)
{
	return (address >> 4) * 0x9e3779b97f4a7c15u >> (64 - bits);
}

static uint64_t load(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
static void store(uint64_t *at, uint64_t v) { __atomic_store_n(at, v, __ATOMIC_RELEASE); }

static void begin_writing(void) { store(&sequence, sequence + 1); }
static void end_writing(void) { store(&sequence, sequence + 1); }

static bool probe(uint64_t t, uint64_t address)
{
	struct entry *entries = entries_of(t);
	uint64_t mask = ((uint64_t)1 << bits_of(t)) - 1;
	uint64_t at = home(address, bits_of(t));

	for (uint64_t n = 0; n <= mask; n++) {
		uint64_t other = load(&entries[at].address);

		if (other == address)
			return true;
		if (other == 0)
			return false;
		at = (at + 1) & mask;
	}
	return false;
}

bool agent_blocks_have(const void *p)
{
	bool found;

	for (int i = 0; i < TRIES; i++) {
		uint64_t before = load(&sequence), t = load(&table);

		if (t == 0)
			return false;
		if (probe(t, (uintptr_t)p))
			return true;
		if ((before & 1) == 0 && __atomic_load_n(&sequence, __ATOMIC_RELAXED) == before)
			return false;
		__builtin_ia32_pause();
	}
	agent_lock(&agent_profile_lock);
	found = probe(table, (uintptr_t)p);
	agent_unlock(&agent_profile_lock);
	return found;
}

/* An empty table. */
static uint64_t take_table(unsigned bits)
{
	uint64_t t = replaced[bits];
	void *p;

	if (t != 0) {
		replaced[bits] = 0;
		return t;
	}
	p = agent_map(sizeof(struct entry) << bits);
	return p == NULL ? 0 : (uintptr_t)p | bits;
}

/* madvise fails in a process that has locked its memory (mlockall). Such a table is not
 * empty, so it is not used again. */
static void give_back(uint64_t t)
{
	if (madvise(entries_of(t), size_of(t), MADV_DONTNEED) == 0)
		replaced[bits_of(t)] = t;
}

bool agent_blocks_start(void)
{
	uint64_t t = take_table(MIN_BITS);

	if (t != 0)
		store(&table, t);
	return t != 0;
}

static void put(uint64_t t, uint64_t address, uint64_t size, uint32_t stack)
{
	struct entry *entries = entries_of(t);
	uint64_t mask = ((uint64_t)1 << bits_of(t)) - 1;
	uint64_t at = home(address, bits_of(t));

	while (entries[at].address != 0)
		at = (at + 1) & mask;
	entries[at].size = size;
	entries[at].stack = stack;
	store(&entries[at].address, address);
}

bool agent_blocks_reserve(void)
{
	uint64_t old = table, capacity = (uint64_t)1 << bits_of(old), bigger;

	if (count < capacity / 4 * 3)
		return true;
	bigger = bits_of(old) < MAX_BITS ? take_table(bits_of(old) + 1) : 0;
	if (bigger == 0)
		return count + 1 < capacity; /* slow, but a probe still ends */
	for (uint64_t i = 0; i < capacity; i++) {
		const struct entry *e = &entries_of(old)[i];

		if (e->address != 0)
			put(bigger, e->address, e->size, e->stack);
	}
	begin_writing();
	store(&table, bigger);
	give_back(old);
	end_writing();
	return true;
}

void agent_blocks_add(const struct agent_block *block)
{
	begin_writing();
	put(table, block->address, block->size, block->stack);
	count++;
	end_writing();
}

/* Closes the gap at an entry that becomes empty: entries behind it move up, unless that
 * puts them before their home. */
static void close_gap(struct entry *entries, unsigned bits, uint64_t gap)
{
	uint64_t mask = ((uint64_t)1 << bits) - 1;

	for (uint64_t at = (gap + 1) & mask; entries[at].address != 0; at = (at + 1) & mask) {
		uint64_t from_home = (at - home(entries[at].address, bits)) & mask;

		if (from_home < ((at - gap) & mask))
			continue;
		entries[gap].size = entries[at].size;
		entries[gap].stack = entries[at].stack;
		store(&entries[gap].address, entries[at].address);
		gap = at;
	}
	store(&entries[gap].address, 0);
}

bool agent_blocks_remove(const void *p, struct agent_block *block)
{
	struct entry *entries = entries_of(table);
	uint64_t mask = ((uint64_t)1 << bits_of(table)) - 1, address = (uintptr_t)p;
	uint64_t at;

	if (table == 0 || address == 0)
		return false;
	for (at = home(address, bits_of(table)); entries[at].address != address; at = (at + 1) & mask)
		if (entries[at].address == 0)
			return false;
	*block = (struct agent_block){address, entries[at].size, entries[at].stack};
	begin_writing();
	close_gap(entries, bits_of(table), at);
	count--;
	end_writing();
	return true;
}

/* If there is no memory for a small table, the large one stays, empty. */
void agent_blocks_clear(void)
{
	uint64_t old = table, t = bits_of(old) == MIN_BITS ? 0 : take_table(MIN_BITS);

	begin_writing();
	if (t != 0) {
		store(&table, t);
		give_back(old);
	}
	for (uint64_t i = 0; t == 0 && i < (uint64_t)1 << bits_of(old); i++)
		store(&entries_of(old)[i].address, 0);
	count = 0;
	end_writing();
}

uint64_t agent_blocks_count(void) { return count; }
uint64_t agent_blocks_bytes(void) { return table == 0 ? 0 : size_of(table); }
