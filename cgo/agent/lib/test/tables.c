/* The tables alone, without malloc: the table of stacks against a model, the memory that both
 * need, and lookups of blocks while another thread changes the table. Linked with blocks.c and
 * stacks.c, also with ThreadSanitizer. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "../blocks.h"
#include "../estimate.h"
#include "../internal.h"
#include "../stacks.h"
#include "check.h"

enum { PERIOD = 1 };

struct agent_lock agent_profile_lock;
__thread struct agent_thread agent_thread;

/* ---- blocks ---- */

enum { OWNED = 20, CHURNED = 6000, LOOKUPS = 1000000, READERS = 3, ALL_OWNED = READERS * OWNED };

/* So many blocks fill the smallest table without making it grow: runs of entries are long
 * then, and each removal moves some. */
enum { FULL = 383 - ALL_OWNED };

static atomic_bool stop;

/* Addresses of three kinds: those of a thread that looks them up, those that come and go,
 * and those that are never in the table. */
static void *owned(uint64_t i) { return (void *)(0x7f0000000000 + i * 4096); }
static void *churned(uint64_t i) { return (void *)(0x7f1000000010 + i * 4096); }
static void *absent(uint64_t i) { return (void *)(0x7f2000000000 + i * 4096); }

static void add(const void *p, uint64_t size, uint32_t stack)
{
	struct agent_block block = {(uintptr_t)p, size, stack};

	agent_lock(&agent_profile_lock);
	CHECK(agent_blocks_reserve(), "no memory");
	agent_blocks_add(&block);
	agent_unlock(&agent_profile_lock);
}

/* Owns some blocks. It adds them anew now and then, because blocks that were added late are
 * those that move. */
static void *look_up(void *arg)
{
	uint64_t random = (uintptr_t)arg, first = (random - 1) * OWNED;
	struct agent_block block;

	for (int i = 0; i < LOOKUPS; i++) {
		uint64_t n = next_random(&random), own = first + n % OWNED;
		bool removed;

		CHECK(agent_blocks_have(owned(own)), "block %lu is not found", own);
		CHECK(!agent_blocks_have(absent(n % 100000)), "block %lu is found", n % 100000);
		if (i % 16 != 0)
			continue;
		agent_lock(&agent_profile_lock);
		removed = agent_blocks_remove(owned(own), &block);
		agent_unlock(&agent_profile_lock);
		CHECK(removed && block.size == own, "block %lu is not removed", own);
		add(owned(own), own, 0);
	}
	atomic_store(&stop, true);
	return NULL;
}

static void check_blocks(void)
{
	static bool present[CHURNED];
	pthread_t readers[READERS];
	struct agent_block block;
	uint64_t random = 5, count = ALL_OWNED, target = FULL;

	CHECK(agent_blocks_start(), "no memory");
	for (int i = 0; i < ALL_OWNED; i++)
		add(owned(i), i, i);
	for (uintptr_t i = 0; i < READERS; i++)
		CHECK(pthread_create(&readers[i], NULL, look_up, (void *)(i + 1)) == 0, "pthread_create");
	for (int step = 0; !atomic_load(&stop) || step < 2000000; step++) {
		uint64_t i = next_random(&random) % (target == FULL ? FULL + 100 : CHURNED);
		bool removed;

		if (step >= 1000000 && step % 20000 == 0) /* the table grows, and is full or nearly empty */
			target = next_random(&random) % CHURNED;
		if (!present[i] && count - ALL_OWNED < target) {
			add(churned(i), i, ~i);
			present[i] = true;
			count++;
			continue;
		}
		agent_lock(&agent_profile_lock);
		removed = agent_blocks_remove(churned(i), &block);
		agent_unlock(&agent_profile_lock);
		CHECK(removed == present[i], "block %lu is %s", i, removed ? "present" : "missing");
		CHECK(!removed || (block.address == (uintptr_t)churned(i) && block.size == i && block.stack == (uint32_t)~i), "block %lu is wrong", i);
		count -= removed;
		present[i] = false;
	}
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	CHECK(agent_blocks_count() == count, "%lu blocks, not %lu", agent_blocks_count(), count);
	agent_blocks_clear();
	CHECK(agent_blocks_count() == 0 && !agent_blocks_have(owned(1)), "the table is not empty");
	for (int i = 0; i < ALL_OWNED; i++) {
		CHECK(!agent_blocks_remove(owned(i), &block), "block %d is still there", i);
		add(owned(i), 1, 1);
	}
	agent_blocks_clear();
}

/* ---- stacks ---- */

enum { KINDS = 400000, FREQUENT = 20, MAX_LEN = 40, LIVE = 3000, SAMPLES = 400000 };

/* Stack number kind: a few are frequent, most are seen once. */
static uint32_t make_stack(uint64_t kind, uintptr_t *pcs)
{
	uint32_t len = 1 + kind % MAX_LEN;

	for (uint32_t i = 0; i < len; i++)
		pcs[i] = kind + i;
	return len;
}

struct sums {
	struct agent_counts all, others;
	uint64_t stacks;
};

static void add_up(struct sums *sums)
{
	char *copy = agent_map(agent_stacks_copy_size() + 4096);
	size_t size = agent_stacks_copy(copy), at = 0;

	*sums = (struct sums){0};
	while (at < size) {
		struct agent_stack s;
		uintptr_t pcs[MAX_LEN];

		at += agent_stacks_read(copy + at, &s);
		sums->stacks += s.len > 0;
		sums->all.live_objects += s.live_objects;
		sums->all.live_bytes += s.live_bytes;
		sums->all.all_objects += s.all_objects;
		sums->all.all_bytes += s.all_bytes;
		sums->all.live.objects += s.live.objects;
		sums->all.live.bytes += s.live.bytes;
		sums->all.all.objects += s.all.objects;
		sums->all.all.bytes += s.all.bytes;
		if (s.len == 0)
			sums->others.all_objects += s.all_objects;
		else
			CHECK(make_stack(s.pcs[0], pcs) == s.len && memcmp(pcs, s.pcs, s.len * sizeof *pcs) == 0, "the stack of kind %lu is wrong", s.pcs[0]);
	}
	munmap(copy, agent_stacks_copy_size() + 4096);
}

static void check_stacks(void)
{
	static struct {
		uint32_t stack;
		uint64_t kind;
	} live[LIVE];
	uintptr_t pcs[MAX_LEN];
	struct agent_counts totals;
	struct sums sums;
	uint64_t random = 3, frequent;

	CHECK(agent_stacks_start(), "no memory");
	for (int i = 0; i < SAMPLES; i++) {
		uint64_t r = next_random(&random), kind = r % 4 == 0 ? (r >> 8) % FREQUENT : (r >> 8) % KINDS;
		uint32_t len = make_stack(kind, pcs), at = (r >> 40) % LIVE;
		uint32_t stack = agent_stacks_number(pcs, len, agent_stacks_hash(pcs, len));

		CHECK(stack != AGENT_NO_STACK, "no memory");
		agent_stacks_allocated(stack, kind, PERIOD);
		if (i >= LIVE) {
			uint32_t old_len = make_stack(live[at].kind, pcs);

			CHECK(agent_stacks_number(pcs, old_len, agent_stacks_hash(pcs, old_len)) == live[at].stack, "the number of a live stack has changed");
			agent_stacks_freed(live[at].stack, live[at].kind, PERIOD);
		} else {
			at = i;
		}
		live[at].stack = stack;
		live[at].kind = kind;
	}
	agent_stacks_totals(&totals);
	add_up(&sums);
	CHECK(totals.all_objects == SAMPLES && totals.live_objects == LIVE, "%lu samples, %lu live", totals.all_objects, totals.live_objects);
	CHECK(memcmp(&sums.all, &totals, sizeof totals) == 0, "the totals are not the sums of the stacks");
	CHECK(sums.stacks == agent_stacks_count(), "%lu stacks, but the count is %lu", sums.stacks, agent_stacks_count());
	CHECK(agent_stacks_dropped() > 100000 && sums.others.all_objects >= agent_stacks_dropped(), "%lu stacks were dropped, with %lu samples", agent_stacks_dropped(), sums.others.all_objects);
	CHECK(agent_stacks_copy_size() < 5 << 20, "the stacks need %zu bytes", agent_stacks_copy_size());
	for (frequent = 0; frequent < FREQUENT; frequent++) {
		uint32_t len = make_stack(frequent, pcs);
		uint64_t before = agent_stacks_count();

		agent_stacks_number(pcs, len, agent_stacks_hash(pcs, len));
		CHECK(agent_stacks_count() == before, "the frequent stack %lu was dropped", frequent);
	}
	agent_stacks_clear();
	add_up(&sums);
	CHECK(sums.all.all_objects == 0 && agent_stacks_count() == 0 && agent_stacks_dropped() == 0, "the table is not empty");
}

/* ---- memory ---- */

static void check_memory(void)
{
	enum { BLOCKS = 200000, STACKS = 50, LEN = 30 };
	long before = resident(), used;
	uint64_t own;
	uintptr_t pcs[MAX_LEN];

	for (uint64_t i = 0; i < BLOCKS; i++) {
		uint32_t stack;

		for (int k = 0; k < LEN; k++)
			pcs[k] = i % STACKS + k;
		stack = agent_stacks_number(pcs, LEN, agent_stacks_hash(pcs, LEN));
		add((void *)(0x7f0000000000 + i * 4096), 100, stack);
		agent_stacks_allocated(stack, 100, PERIOD);
	}
	used = (resident() - before) / BLOCKS;
	own = (agent_blocks_bytes() + agent_stacks_bytes()) / BLOCKS;
	printf("tables: %ld resident bytes for each live block, %lu by the own count\n", used, own);
	CHECK(used <= 100 && own <= 100, "more than 100 bytes for each live block");
}

/* ---- estimates ---- */

static bool near(double got, double want, double by) { return got - want < by && want - got < by; }

/* Sums of estimates are those of the formula, and the counts of a dump lead back to the samples
 * if these are of one size. */
static void check_estimates(void)
{
	static const struct {
		uint64_t size, period;
		double probability; /* 1 - exp(-size/period) */
	} cases[] = {
		{16, 1, 1}, {16, 0, 1}, {1600, 16, 1}, {1000000, 1000000, 0.6321205588285577}, {1000, 100000, 0.009950166250831947},
		{3000000, 1000000, 0.950212931632136}, {524288, 8388608, 0.06058693718652421},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		enum { SAMPLES = 37 };
		double p = cases[i].probability;
		struct agent_estimate e = agent_estimate(cases[i].size, cases[i].period);
		uint64_t objects, bytes;

		CHECK(near(e.objects, AGENT_UNITS / p, 1) && near(e.bytes, cases[i].size / p, 1), "one of %lu bytes, sampled each %lu, is an estimate of %lu/%d with %lu bytes",
			cases[i].size, cases[i].period, e.objects, AGENT_UNITS, e.bytes);
		e.objects *= SAMPLES, e.bytes *= SAMPLES;
		agent_estimate_counts(e, cases[i].period, &objects, &bytes);
		CHECK(objects == SAMPLES && near(bytes, SAMPLES * (double)cases[i].size, SAMPLES + cases[i].size * 0.05), "%d samples of %lu bytes, each %lu, are %lu with %lu bytes",
			SAMPLES, cases[i].size, cases[i].period, objects, bytes);
	}
}

/* ---- refusals ---- */

/* After a refusal the kernel is not asked for a while, and errno is the caller's. */
static void check_refusal(void)
{
	int tries = 0;

	errno = 4711;
	CHECK(agent_map((size_t)1 << 60) == NULL, "there is memory without bound");
	CHECK(agent_map(4096) == NULL, "the kernel is asked again at once");
	while (agent_map(4096) == NULL)
		CHECK(++tries < 100000, "the kernel is never asked again");
	CHECK(agent_map_now((size_t)1 << 60) == NULL && agent_map_now(4096) != NULL, "the kernel is not always asked");
	CHECK(agent_map(4096) != NULL, "the kernel is not asked though it has memory again");
	CHECK(errno == 4711, "errno is %d", errno);
}

int main(int argc, char **argv)
{
	(void)argv;
	check_blocks();
	check_stacks();
	check_estimates();
	check_refusal();
	if (argc == 1) /* ThreadSanitizer needs memory of its own */
		check_memory();
	return 0;
}
