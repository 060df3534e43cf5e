/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/collect/buckets.h"

#include "agent/base/arena.h"
#include "agent/base/attr.h"
#include "agent/base/stats.h"
#include "agent/collect/frames.h"
#include "agent/collect/slots.h"
#include "agent/collect/stacks.h"

enum {
	RESERVED = 1024, /* more than there are size classes */
};

static struct {
	_Atomic(struct slots *) slots; /* made by the first sample */
	struct arena arena;
	struct {
		_Atomic(struct bucket *) first;
		_Atomic uint64_t count;
	} series[SERIES_N];
} self;

/* Where all those are counted for whom there was no room must itself not need any. */
static struct bucket reserve[RESERVED] BIG;
static _Atomic uint32_t reserve_used;

static bool is_other(const struct stack *stack)
{
	return stack->depth == 1 && stack->pcs[0] == FRAME_OTHER;
}

static COLD struct bucket *take_reserved(void)
{
	uint32_t used = atomic_load_explicit(&reserve_used, memory_order_relaxed);

	do
		if (used == RESERVED)
			return NULL;
	while (!atomic_compare_exchange_weak_explicit(&reserve_used, &used, used + 1, memory_order_relaxed,
						      memory_order_relaxed));
	return &reserve[used];
}

static struct bucket *find(struct bucket *from, const struct bucket *to, const struct bucket *like)
{
	for (struct bucket *b = from; b != to; b = atomic_load_explicit(&b->next, memory_order_relaxed))
		if (b->stack == like->stack && b->series == like->series && b->key == like->key &&
		    b->tag == like->tag)
			return b;
	return NULL;
}

static void list_in_series(struct bucket *b)
{
	_Atomic(struct bucket *) *head = &self.series[b->series].first;
	struct bucket *first = atomic_load_explicit(head, memory_order_relaxed);

	do
		atomic_store_explicit(&b->next_in_series, first, memory_order_relaxed);
	/* release: a walker that acquires the head sees the bucket whole */
	while (!atomic_compare_exchange_weak_explicit(head, &first, b, memory_order_release,
						      memory_order_relaxed));
	atomic_fetch_add_explicit(&self.series[b->series].count, 1, memory_order_relaxed);
}

struct bucket *buckets_get(enum series series, const struct stack *stack, uint32_t key, uint32_t tag)
{
	const struct bucket like = { .series = (uint32_t)series, .stack = stack, .key = key, .tag = tag };
	uint64_t hash = ((uintptr_t)stack >> 4) * 0x9e3779b97f4a7c15u;
	_Atomic(void *) *slot;
	struct bucket *found, *fresh;
	void *first;

	hash ^= ((uint64_t)series << 56 ^ (uint64_t)key << 28 ^ tag) * 0xff51afd7ed558ccdu;
	hash ^= hash >> 32;
	slot = slots_at(&self.slots, hash);
	if (!slot)
		goto full;
	first = atomic_load_explicit(slot, memory_order_acquire);
	found = find(first, NULL, &like);
	if (found)
		return found;
	fresh = arena_alloc(&self.arena, sizeof(*fresh));
	if (!fresh && is_other(stack))
		fresh = take_reserved();
	if (!fresh)
		goto full;
	fresh->stack = stack;
	fresh->series = (uint32_t)series;
	fresh->key = key;
	fresh->tag = tag;
	for (;;) {
		const struct bucket *seen = first;

		atomic_store_explicit(&fresh->next, first, memory_order_relaxed);
		if (atomic_compare_exchange_weak_explicit(slot, &first, fresh, memory_order_acq_rel,
							  memory_order_acquire))
			break;
		found = find(first, seen, &like);
		if (found)
			return found;
	}
	list_in_series(fresh);
	return fresh;
full:
	stat_add(is_other(stack) ? STAT_BUCKETS_FULL : STAT_STACKS_FULL, 1);
	return NULL;
}

struct bucket *buckets_first(enum series series)
{
	return atomic_load_explicit(&self.series[series].first, memory_order_acquire);
}

uint64_t buckets_count(enum series series)
{
	return atomic_load_explicit(&self.series[series].count, memory_order_relaxed);
}

size_t buckets_bytes(void)
{
	return arena_bytes(&self.arena);
}

void buckets_child(enum series series)
{
	for (struct bucket *b = buckets_first(series); b; b = bucket_next(b)) {
		for (int i = 0; i < SERIES_VALUES; i++) {
			atomic_store_explicit(&b->value[i], 0, memory_order_relaxed);
			atomic_store_explicit(&b->extra[i], 0, memory_order_relaxed);
		}
	}
}
