/* What a sample stands for. libm is not used, because the agent names no other library. */
#include "estimate.h"

/* 1 - exp(-x) for x >= 0. The series is taken for a fraction of x, from which
 * 1 - exp(-2y) = q * (2 - q), with q = 1 - exp(-y), leads back to x. */
static double probability(double x)
{
	int doublings = 0;
	double q;

	if (x >= 40) /* the difference from 1 is below the precision */
		return 1;
	while (x > 1.0 / 64) {
		x /= 2;
		doublings++;
	}
	q = x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5 * (1 - x / 6)))));
	while (doublings-- > 0)
		q *= 2 - q;
	return q;
}

struct agent_estimate agent_estimate(uint64_t size, uint64_t period)
{
	double p = period <= 1 ? 1 : probability((double)size / (double)period);

	return (struct agent_estimate){
		.objects = (uint64_t)(AGENT_UNITS / p + 0.5),
		.bytes = (uint64_t)((double)size / p + 0.5),
	};
}

void agent_estimate_counts(struct agent_estimate e, uint64_t period, uint64_t *objects, uint64_t *bytes)
{
	double n = (double)e.objects / AGENT_UNITS, b = (double)e.bytes;
	double p = period <= 1 || e.objects == 0 ? 1 : probability(b / n / (double)period);

	*objects = (uint64_t)(n * p + 0.5);
	*bytes = (uint64_t)(b * p + 0.5);
	if (*objects == 0 && e.objects != 0) /* a stack with samples has at least one */
		*objects = 1;
}
