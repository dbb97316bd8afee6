/* Functions on memory and strings, under the names by which the compiler and libgcc call
 * them. They are hidden, so the process has its own. They are not fast, except where much is
 * copied: the processor copies and fills by itself. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "libc.h"

#pragma GCC visibility push(hidden)

#if defined(__x86_64__)

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	void *result = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return result;
}

void *memset(void *to, int byte, size_t n)
{
	void *result = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
	return result;
}

#else

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile char *)to)[i] = ((const char *)from)[i];
	return to;
}

void *memset(void *to, int byte, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile char *)to)[i] = (char)byte;
	return to;
}

#endif

void *memmove(void *to, const void *from, size_t n)
{
	volatile char *t = to;
	const char *f = from;

	if ((uintptr_t)to - (uintptr_t)from >= n)
		return memcpy(to, from, n);
	while (n-- > 0)
		t[n] = f[n];
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const unsigned char *x = a, *y = b;

	for (; n >= sizeof(uint64_t); n -= sizeof(uint64_t), x += sizeof(uint64_t), y += sizeof(uint64_t)) {
		uint64_t v, w;

		__builtin_memcpy(&v, x, sizeof v);
		__builtin_memcpy(&w, y, sizeof w);
		if (v != w)
			break;
	}
	for (; n > 0; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

void *memchr(const void *memory, int byte, size_t n)
{
	for (const unsigned char *p = memory; n > 0; n--, p++)
		if (*p == (unsigned char)byte)
			return (void *)p;
	return NULL;
}

size_t strlen(const char *s)
{
	const char *end = s;

	while (*(const volatile char *)end != 0) /* volatile, or this would become a call of strlen */
		end++;
	return (size_t)(end - s);
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n > 0; n--, a++, b++) {
		if (*a != *b)
			return (unsigned char)*a - (unsigned char)*b;
		if (*a == 0)
			return 0;
	}
	return 0;
}

int strcmp(const char *a, const char *b) { return strncmp(a, b, PTRDIFF_MAX); }

char *strncpy(char *restrict to, const char *restrict from, size_t n)
{
	size_t i = 0;

	for (; i < n && from[i] != 0; i++)
		to[i] = from[i];
	memset(to + i, 0, n - i);
	return to;
}

char *strchr(const char *s, int c)
{
	for (;; s++) {
		if (*s == (char)c)
			return (char *)s;
		if (*s == 0)
			return NULL;
	}
}

char *strrchr(const char *s, int c)
{
	const char *last = NULL;

	for (;; s++) {
		if (*s == (char)c)
			last = s;
		if (*s == 0)
			return (char *)last;
	}
}

char *strstr(const char *s, const char *part)
{
	size_t len = strlen(part);

	for (;; s++) {
		if (strncmp(s, part, len) == 0)
			return (char *)s;
		if (*s == 0)
			return NULL;
	}
}

#pragma GCC visibility pop
