/* The distances between samples. They need a generator of random numbers and a logarithm.
 * Both are our own: that of libc may take a lock, and libm is a library that the process
 * may not have. */
#include "gaps.h"

#include <x86intrin.h>

/* xorshift64*. Threads differ by the seed. */
static uint64_t random_bits(struct agent_thread *t)
{
	static uint64_t threads;

	if (t->random == 0) {
		uint64_t seed = __rdtsc() ^ (uintptr_t)t << 20;

		seed += __atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED) * 0x9e3779b97f4a7c15u;
		seed = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9u;
		seed = (seed ^ seed >> 27) * 0x94d049bb133111ebu;
		t->random = (seed ^ seed >> 31) | 1;
	}
	t->random ^= t->random >> 12;
	t->random ^= t->random << 25;
	t->random ^= t->random >> 27;
	return t->random * 0x2545f4914f6cdd1du;
}

/* The natural logarithm of n / 2^53, for 0 < n <= 2^53. With n = m * 2^e and m between
 * sqrt(1/2) and sqrt(2), it is log(m) + (e - 53) * log(2). The series for log(m) is that of
 * 2 * atanh(s). |s| < 0.172, so the first term left out is less than 1e-12. */
static double log_fraction(uint64_t n)
{
	const double log2 = 0.69314718055994530942;
	int e = 63 - __builtin_clzll(n);
	double m = (double)n / (double)((uint64_t)1 << e), s, s2;

	if (m > 1.41421356237309504880) {
		m /= 2;
		e++;
	}
	s = (m - 1) / (m + 1);
	s2 = s * s;
	return 2 * s * (1 + s2 * (1. / 3 + s2 * (1. / 5 + s2 * (1. / 7 + s2 * (1. / 9 + s2 * (1. / 11 + s2 / 13)))))) + (e - 53) * log2;
}

uint64_t agent_gap(struct agent_thread *t, uint64_t mean)
{
	if (mean <= 1)
		return 0;
	return (uint64_t)(-log_fraction((random_bits(t) >> 11) + 1) * (double)mean);
}
