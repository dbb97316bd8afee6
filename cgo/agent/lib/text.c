/* Formatting without stdio. The agent lives in other people's processes, where stdio could
 * allocate, take locks, or depend on the locale. Nothing here does. */
#include "text.h"

#include <string.h>

void agent_put_bytes(struct agent_text *t, const void *bytes, size_t n)
{
	if (n > t->size - t->len) {
		t->overflow = true;
		return;
	}
	memcpy(t->bytes + t->len, bytes, n);
	t->len += n;
}

void agent_put_string(struct agent_text *t, const char *s)
{
	agent_put_bytes(t, s, strlen(s));
}

/* Puts n in a base of at most 16, with at least min digits. */
static void put_number(struct agent_text *t, uint64_t n, unsigned base, int min)
{
	char digits[64];
	char *p = digits + sizeof digits;

	do {
		*--p = "0123456789abcdef"[n % base];
		n /= base;
	} while (p > digits && (n != 0 || digits + sizeof digits - p < min));
	agent_put_bytes(t, p, (size_t)(digits + sizeof digits - p));
}

void agent_put_decimal(struct agent_text *t, uint64_t n)
{
	put_number(t, n, 10, 1);
}

void agent_put_hex(struct agent_text *t, uint64_t n)
{
	put_number(t, n, 16, 1);
}

void agent_put_hex_padded(struct agent_text *t, uint64_t n, int digits)
{
	put_number(t, n, 16, digits);
}

const char *agent_text_end(struct agent_text *t)
{
	if (t->size == 0)
		return "";
	if (t->len == t->size) {
		t->overflow = true;
		t->len--;
	}
	t->bytes[t->len] = '\0';
	return t->bytes;
}

bool agent_read_decimal(const char **s, uint64_t *n)
{
	const char *begin = *s;

	for (*n = 0; **s >= '0' && **s <= '9' && *n < UINT64_MAX / 10 - 1; ++*s)
		*n = *n * 10 + (uint64_t)(**s - '0');
	return *s != begin;
}
