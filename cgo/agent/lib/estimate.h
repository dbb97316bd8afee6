/* What a sample stands for. */
#ifndef AGENT_ESTIMATE_H
#define AGENT_ESTIMATE_H

#include <stdint.h>

/* An estimate of what was allocated, as a sum over samples. Objects are counted in units of
 * 1/AGENT_UNITS. */
enum { AGENT_UNITS = 1 << 10 };

struct agent_estimate {
	uint64_t objects, bytes;
};

/* One sampled block of that many bytes stands for 1/p blocks, where p = 1 - exp(-size/period)
 * is the probability that it was sampled. The result depends on nothing else. So what was
 * added for a block is subtracted exactly when the block is freed. */
struct agent_estimate agent_estimate(uint64_t size, uint64_t period);

/* The counts from which readers of a heap_v2 dump compute the estimate. They correct a
 * stack's counts by the mean size of its objects, as if all objects had that size. For
 * objects of different sizes that would be wrong: one sample of a small object stands for
 * many more bytes. So the counts of the dump are not those of the samples, but those that
 * this correction turns into the estimate. jemalloc does the same (opt.prof_unbias). */
void agent_estimate_counts(struct agent_estimate estimate, uint64_t period, uint64_t *objects, uint64_t *bytes);

#endif
