/* Where the interposed functions are. agent_walk uses it to begin a stack at the right frame. */
#ifndef AGENT_TAP_H
#define AGENT_TAP_H

#include <stdbool.h>
#include <stdint.h>

/* The interposed functions that allocate stand in a section of their own. The linker
 * defines these bounds of it. */
extern const char agent_tap_start[] __asm__("__start_agent_tap") __attribute__((visibility("hidden")));
extern const char agent_tap_stop[] __asm__("__stop_agent_tap") __attribute__((visibility("hidden")));

/* Whether a return address is in an interposed function: malloc, calloc, realloc...
 * Such a function calls the sampler by an ordinary call, not by a jump, so every walk from
 * inside the sampler meets exactly one such frame. The frames before it are the sampler's
 * own and have to be left out. This frame is the first that agent_walk returns. */
static inline bool agent_in_tap(uintptr_t return_address)
{
	return return_address - 1 - (uintptr_t)agent_tap_start < (uintptr_t)(agent_tap_stop - agent_tap_start);
}

#endif
