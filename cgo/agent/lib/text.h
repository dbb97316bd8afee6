/* Formatting without stdio: text is put into a buffer of the caller. */
#ifndef AGENT_TEXT_H
#define AGENT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agent_text {
	char *bytes;
	size_t len, size;
	bool overflow; /* something did not fit, and was left out as a whole */
};

static inline void agent_text_start(struct agent_text *t, char *buffer, size_t size)
{
	*t = (struct agent_text){.bytes = buffer, .size = size};
}

void agent_put_bytes(struct agent_text *t, const void *bytes, size_t n);
void agent_put_string(struct agent_text *t, const char *s);
void agent_put_decimal(struct agent_text *t, uint64_t n);
void agent_put_hex(struct agent_text *t, uint64_t n);                  /* without 0x */
void agent_put_hex_padded(struct agent_text *t, uint64_t n, int digits); /* with leading zeros */

/* Reads a decimal number and moves *s behind it. Returns false if there is none. A number that
 * is too large is cut. */
bool agent_read_decimal(const char **s, uint64_t *n);

/* Ends the text with a NUL that len does not count. The text is cut if the NUL does not fit. */
const char *agent_text_end(struct agent_text *t);

#endif
