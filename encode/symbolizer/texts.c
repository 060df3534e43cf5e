/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/symbolizer/texts.h"

#include <stdlib.h>
#include <string.h>

#include "encode/symbolizer/die.h"

enum { SLOTS = 1 << 16 };

static struct text *slots[SLOTS];

/* FNV-1a (Fowler, Noll, Vo). */
static uint32_t hash_of(const char *chars, size_t n)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)chars[i]) * 16777619u;
	return h;
}

struct text *texts_get(const char *chars)
{
	size_t n = strnlen(chars, TEXT_MAX);
	uint32_t hash = hash_of(chars, n);
	struct text **slot = &slots[hash % SLOTS], *t;

	for (t = *slot; t; t = t->next)
		if (t->hash == hash && strlen(t->chars) == n && !memcmp(t->chars, chars, n))
			return t;
	t = die_alloc(sizeof(*t) + n + 1);
	*t = (struct text){ .next = *slot, .hash = hash };
	for (size_t i = 0; i < n; i++)
		t->chars[i] = (unsigned char)chars[i] < ' ' ? '?' : chars[i];
	t->chars[n] = '\0';
	*slot = t;
	return t;
}

void texts_clear(void)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		while (slots[i]) {
			struct text *t = slots[i];

			slots[i] = t->next;
			free(t);
		}
	}
}
