/* The walker's interface, for the tests of the sampler alone. */
#ifndef AGENT_WALK_H
#define AGENT_WALK_H
unsigned agent_walk(void **pcs, unsigned max);
#endif
