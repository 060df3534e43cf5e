/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/stats.h"

_Atomic uint64_t stat_values[STAT_N];

static const struct {
	const char *name;
	const char *meaning;
	enum stat_kind kind;
} rows[STAT_N] = {
#define STAT(id, name_, kind_, meaning_) \
	[STAT_##id] = { .name = name_, .meaning = meaning_, .kind = STAT_KIND_##kind_ },
#include "agent/base/stats.def"
#undef STAT
};

const char *stat_name(enum stat_id id)
{
	return rows[id].name;
}

const char *stat_meaning(enum stat_id id)
{
	return rows[id].meaning;
}

enum stat_kind stat_kind(enum stat_id id)
{
	return rows[id].kind;
}

void stats_child(void)
{
	for (int i = 0; i < STAT_N; i++)
		atomic_store_explicit(&stat_values[i], 0, memory_order_relaxed);
}
