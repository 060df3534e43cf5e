/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's own counters, from the table in stats.def. Context: signal, hook, agent, init, child. */
#ifndef BASE_STATS_H
#define BASE_STATS_H

#include <stdatomic.h>
#include <stdint.h>

enum stat_kind { STAT_KIND_COUNT, STAT_KIND_DROP, STAT_KIND_FAIL };

enum stat_id {
#define STAT(id, name, kind, meaning) STAT_##id,
#include "agent/base/stats.def"
#undef STAT
	STAT_N
};

/* Only base/stats.c and the two inlines below touch the array. */
extern _Atomic uint64_t stat_values[STAT_N] __attribute__((visibility("hidden")));

static inline void stat_add(enum stat_id id, uint64_t n)
{
	atomic_fetch_add_explicit(&stat_values[id], n, memory_order_relaxed);
}

static inline uint64_t stat_read(enum stat_id id)
{
	return atomic_load_explicit(&stat_values[id], memory_order_relaxed);
}

const char *stat_name(enum stat_id id);
const char *stat_meaning(enum stat_id id);
enum stat_kind stat_kind(enum stat_id id);

/* A new process starts counting at 0. Context: child. */
void stats_child(void);

#endif
