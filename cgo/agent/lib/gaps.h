/* The distances between samples. */
#ifndef AGENT_GAPS_H
#define AGENT_GAPS_H

#include <stdint.h>

#include "thread.h"

/* Bounds the distance, which is at most 37 times as much, to 62 bits. */
#define AGENT_MAX_PERIOD ((uint64_t)1 << 56)

/* Draws the bytes from one sample to the next: an exponentially distributed number with this
 * mean, rounded down. 0 if the mean is 0 or 1. */
uint64_t agent_gap(struct agent_thread *t, uint64_t mean);

#endif
