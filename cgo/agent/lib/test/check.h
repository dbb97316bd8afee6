/* For all tests: a check that ends the program, and what they share. */
#ifndef TEST_CHECK_H
#define TEST_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHECK(condition, ...)                                              \
	do {                                                               \
		if (!(condition)) {                                        \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
			fprintf(stderr, __VA_ARGS__);                      \
			fprintf(stderr, "\n");                             \
			_exit(1);                                          \
		}                                                          \
	} while (0)

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* What the sampler records for n bytes. */
static inline uint64_t weight(uint64_t n) { return n == 0 ? 16 : (n + 15) / 16 * 16; }

/* Keeps the compiler from leaving out an allocation. */
static inline void *keep(void *p)
{
	__asm__ volatile("" : "+r"(p) : : "memory");
	return p;
}

/* Resident memory of the process in bytes. */
static inline long resident(void)
{
	long size, pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f != NULL && fscanf(f, "%ld %ld", &size, &pages) == 2, "cannot read /proc/self/statm");
	fclose(f);
	return pages * 4096;
}

#endif
