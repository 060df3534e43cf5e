/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/stats.h"

#include <stddef.h>

_Atomic uint64_t stat_values[STAT_N];

/* Texts by their place in one block: pointers would be relocated at the start of every program, and each
 * page of them touched. */
static const struct texts {
#define STAT(id, text, kind, long_text) char name_##id[sizeof(text)], meaning_##id[sizeof(long_text)];
#include "agent/base/stats.def"
#undef STAT
} texts = {
#define STAT(id, text, kind, long_text) .name_##id = text, .meaning_##id = long_text,
#include "agent/base/stats.def"
#undef STAT
};

static const struct {
	uint16_t name, meaning;
	uint8_t kind;
} rows[STAT_N] = {
#define STAT(id, text, kind_, long_text)                             \
	[STAT_##id] = { .name = offsetof(struct texts, name_##id),       \
			.meaning = offsetof(struct texts, meaning_##id), \
			.kind = STAT_KIND_##kind_ },
#include "agent/base/stats.def"
#undef STAT
};
_Static_assert(sizeof(texts) < UINT16_MAX, "offsets have 16 bits");

const char *stat_name(enum stat_id id)
{
	return (const char *)&texts + rows[id].name;
}

const char *stat_meaning(enum stat_id id)
{
	return (const char *)&texts + rows[id].meaning;
}

enum stat_kind stat_kind(enum stat_id id)
{
	return (enum stat_kind)rows[id].kind;
}

void stats_child(void)
{
	for (int i = 0; i < STAT_N; i++)
		atomic_store_explicit(&stat_values[i], 0, memory_order_relaxed);
}
