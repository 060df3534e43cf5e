/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The string table of a profile: each text once, numbered from 0 in the order of arrival, number 0
 * being "". Texts are cleaned (encode/clean.h) on the way in. Context: agent.
 */
#ifndef ENCODE_STRTAB_H
#define ENCODE_STRTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode/pool.h"

struct strtab_text {
	const char *text;
	uint32_t len;
	uint32_t hash;
};

struct strtab {
	struct strtab_text *texts;
	size_t n, room;
	uint32_t *slots; /* text number + 1; 0: empty */
	size_t n_slots;	 /* a power of two */
	struct pool pool;
};

/* false when out of memory; strtab_free is due in either case. */
bool strtab_init(struct strtab *table);
void strtab_free(struct strtab *table);

/* The number of a text; -1 when out of memory. */
long strtab_add(struct strtab *table, const char *text);

static inline const struct strtab_text *strtab_get(const struct strtab *table, size_t number)
{
	return &table->texts[number];
}

#endif
