/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/strtab.h"

#include <string.h>

#include "agent/base/mem.h"
#include "encode/clean.h"
#include "encode/grow.h"

static uint32_t hash_text(const char *text, size_t len)
{
	uint64_t hash = len, word;

	for (; len >= 8; text += 8, len -= 8) {
		memcpy(&word, text, 8);
		hash = grow_hash(hash ^ word);
	}
	word = 0;
	memcpy(&word, text, len);
	return (uint32_t)grow_hash(hash ^ word);
}

/* The slot that holds the text, or the empty one where it belongs. */
static uint32_t *slot_of(struct strtab *table, const char *text, size_t len, uint32_t hash)
{
	size_t mask = table->n_slots - 1;

	for (size_t i = hash & mask;; i = (i + 1) & mask) {
		const struct strtab_text *have;

		if (!table->slots[i])
			return &table->slots[i];
		have = &table->texts[table->slots[i] - 1];
		if (have->hash == hash && have->len == len && memcmp(have->text, text, len) == 0)
			return &table->slots[i];
	}
}

static bool slots_double(struct strtab *table)
{
	size_t n = table->n_slots ? table->n_slots * 2 : 256;
	uint32_t *slots = mem_zalloc(n * sizeof(*slots));

	if (!slots)
		return false;
	for (size_t t = 0; t < table->n; t++) {
		size_t i = table->texts[t].hash & (n - 1);

		while (slots[i])
			i = (i + 1) & (n - 1);
		slots[i] = (uint32_t)t + 1;
	}
	mem_free(table->slots);
	table->slots = slots;
	table->n_slots = n;
	return true;
}

static long add_clean(struct strtab *table, const char *text, size_t len)
{
	uint32_t hash = hash_text(text, len);
	uint32_t *slot;
	const char *copy;

	if (table->n * 4 >= table->n_slots * 3 && !slots_double(table))
		return -1;
	slot = slot_of(table, text, len, hash);
	if (*slot)
		return (long)*slot - 1;
	if (!grow_room(&table->texts, &table->room, table->n + 1, sizeof(*table->texts)))
		return -1;
	copy = pool_text(&table->pool, text, len);
	if (!copy)
		return -1;
	table->texts[table->n++] = (struct strtab_text){ copy, (uint32_t)len, hash };
	*slot = (uint32_t)table->n;
	return (long)table->n - 1;
}

bool strtab_init(struct strtab *table)
{
	*table = (struct strtab){ 0 };
	return add_clean(table, "", 0) == 0;
}

void strtab_free(struct strtab *table)
{
	mem_free(table->texts);
	mem_free(table->slots);
	pool_drop(&table->pool);
	*table = (struct strtab){ 0 };
}

long strtab_add(struct strtab *table, const char *text)
{
	size_t len = strlen(text);
	char *clean;
	long number;

	if (len > UINT32_MAX / 4)
		return -1;
	if (clean_span(text, len) == len)
		return add_clean(table, text, len);
	clean = mem_alloc(CLEAN_ROOM(len));
	if (!clean)
		return -1;
	len = clean_text(clean, text, len);
	number = add_clean(table, clean, len);
	mem_free(clean);
	return number;
}
