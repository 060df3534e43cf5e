/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters per (series, stack, key, tag). Insert-only and lock-free: adding to an existing bucket
 * is one hash look-up and one atomic addition per value, and nothing is ever freed, so a holder of
 * a bucket pointer may add to it at any time.
 */
#ifndef COLLECT_BUCKETS_H
#define COLLECT_BUCKETS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/collect/series.h"

struct stack;

struct bucket {
	_Atomic(struct bucket *) next;	     /* chain of its hash slot */
	_Atomic(struct bucket *) next_in_series; /* all buckets of the series, newest first */
	const struct stack *stack;
	uint32_t series; /* enum series */
	uint32_t key; /* SERIES_HEAP: size class, else 0 */
	uint32_t tag; /* thread record's tag when labels are on, else 0 */
	_Atomic int64_t value[SERIES_VALUES];
	_Atomic int64_t extra[SERIES_VALUES]; /* the series' own use (peaks and the like) */
};

/* The bucket of this identity, made if need be; NULL when the budget is spent: then count under
 * record_mark(FRAME_OTHER), key and all, for which there is always room. Counted as STAT_STACKS_FULL, and as
 * STAT_BUCKETS_FULL when there is none even for that. Context: signal, hook, agent. */
struct bucket *buckets_get(enum series series, const struct stack *stack, uint32_t key,
			   uint32_t tag);

/* Newest bucket of a series; walk on with bucket_next. Context: any. */
struct bucket *buckets_first(enum series series);
static inline struct bucket *bucket_next(const struct bucket *b)
{
	return atomic_load_explicit(&b->next_in_series, memory_order_relaxed);
}
uint64_t buckets_count(enum series series);
size_t buckets_bytes(void);

static inline void bucket_add(struct bucket *b, unsigned value, int64_t n)
{
	atomic_fetch_add_explicit(&b->value[value], n, memory_order_relaxed);
}

/* Sets every value of a series to 0: a forked child counts from its own birth. Context: child. */
void buckets_child(enum series series);

#endif
