/* SPDX-License-Identifier: Apache-2.0 */
/* Well-formed UTF-8 as table 3-7 of the Unicode Standard, less C0, DEL and C1. */
#include "encode/clean.h"

#include <stdint.h>
#include <string.h>

#include "encode/pool.h"

/* Bytes of the clean character at text, 0 if there is none. left > 0. */
static size_t clean_char(const unsigned char *text, size_t left)
{
	unsigned char c = text[0], low = 0x80, high = 0xbf;
	size_t n;

	if (c < 0x80)
		return c >= 0x20 && c != 0x7f;
	if (c >= 0xc2 && c <= 0xdf) {
		n = 2;
		if (c == 0xc2)
			low = 0xa0; /* below are the C1 controls */
	} else if (c >= 0xe0 && c <= 0xef) {
		n = 3;
		if (c == 0xe0)
			low = 0xa0;
		else if (c == 0xed)
			high = 0x9f; /* surrogates */
	} else if (c >= 0xf0 && c <= 0xf4) {
		n = 4;
		if (c == 0xf0)
			low = 0x90;
		else if (c == 0xf4)
			high = 0x8f;
	} else {
		return 0;
	}
	if (left < n || text[1] < low || text[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (text[i] < 0x80 || text[i] > 0xbf)
			return 0;
	return n;
}

size_t clean_span(const char *text, size_t len)
{
	size_t at = 0, n;

	while (at < len && (n = clean_char((const unsigned char *)text + at, len - at)) > 0)
		at += n;
	return at;
}

/* A C1 control is one character of two bytes: it becomes one U+FFFD. */
static size_t bad_size(const unsigned char *text, size_t left)
{
	return text[0] == 0xc2 && left > 1 && text[1] >= 0x80 && text[1] < 0xa0 ? 2 : 1;
}

size_t clean_text(char *out, const char *text, size_t len)
{
	size_t at = 0, used = 0;

	while (at < len) {
		size_t n = clean_span(text + at, len - at);

		memcpy(out + used, text + at, n);
		used += n;
		at += n;
		if (at < len) {
			memcpy(out + used, "\xef\xbf\xbd", 3);
			used += 3;
			at += bad_size((const unsigned char *)text + at, len - at);
		}
	}
	out[used] = '\0';
	return used;
}

const char *clean_copy(struct pool *pool, const char *text)
{
	size_t len = strlen(text);
	char *copy;

	if (clean_span(text, len) == len)
		return text;
	copy = pool_alloc(pool, CLEAN_ROOM(len));
	if (copy)
		clean_text(copy, text, len);
	return copy;
}
