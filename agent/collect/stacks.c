/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/collect/stacks.h"

#include <string.h>

#include "agent/base/arena.h"
#include "agent/base/attr.h"
#include "agent/base/stats.h"
#include "agent/collect/frames.h"
#include "agent/collect/slots.h"
#include "agent/collect/unloads.h"

static struct {
	_Atomic(struct slots *) slots; /* made by the first sample */
	struct arena arena;
	_Atomic uint64_t count;
} self;

/* What a full table answers with: one frame, the mark. The same is the answer to who asks for that very stack. */
static const struct stack other = { .depth = 1, .pcs = { FRAME_OTHER } };

/* Multiply-and-fold over the PCs; any mixing function would do. */
static uint64_t hash_of(const uintptr_t *pcs, uint32_t depth, uint32_t generation)
{
	uint64_t h = 0x9e3779b97f4a7c15u ^ ((uint64_t)generation << 32 | depth);

	for (uint32_t i = 0; i < depth; i++) {
		h = (h ^ pcs[i]) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
	}
	return h ^ (h >> 29);
}

static struct stack *find(struct stack *from, const struct stack *to, uint64_t hash,
			  const uintptr_t *pcs, uint32_t depth, uint32_t generation)
{
	for (struct stack *s = from; s != to;
	     s = atomic_load_explicit(&s->next, memory_order_relaxed))
		if (s->hash == hash && s->depth == depth && s->generation == generation &&
		    !memcmp(s->pcs, pcs, depth * sizeof(*pcs)))
			return s;
	return NULL;
}

const struct stack *stacks_intern(const uintptr_t *pcs, uint32_t depth, uint32_t generation)
{
	uint64_t hash;
	_Atomic(void *) *slot;
	struct stack *found, *fresh = NULL;
	void *first;

	if (depth == 1 && pcs[0] == FRAME_OTHER)
		return &other;
	if (depth > FRAMES_MAX + 1)
		depth = FRAMES_MAX + 1;
	generation = unloads_since(pcs, depth, generation);
	hash = hash_of(pcs, depth, generation);
	slot = slots_at(&self.slots, hash);
	if (!slot)
		goto full;
	first = atomic_load_explicit(slot, memory_order_acquire);
	found = find(first, NULL, hash, pcs, depth, generation);
	if (found)
		return found;
	fresh = arena_alloc(&self.arena, sizeof(*fresh) + depth * sizeof(*pcs));
	if (!fresh)
		goto full;
	fresh->hash = hash;
	fresh->depth = depth;
	fresh->generation = generation;
	memcpy(fresh->pcs, pcs, depth * sizeof(*pcs));
	for (;;) {
		const struct stack *seen = first;

		atomic_store_explicit(&fresh->next, first, memory_order_relaxed);
		/* release: the stack's content is seen before its address (acquire loads) */
		if (atomic_compare_exchange_weak_explicit(slot, &first, fresh, memory_order_acq_rel,
							  memory_order_acquire))
			break;
		/* others came first: was it the same stack? `fresh` is then lost, once */
		found = find(first, seen, hash, pcs, depth, generation);
		if (found)
			return found;
	}
	atomic_fetch_add_explicit(&self.count, 1, memory_order_relaxed);
	stat_add(STAT_STACKS, 1);
	return fresh;
full:
	stat_add(STAT_STACKS_FULL, 1);
	return &other;
}

uint64_t stacks_count(void)
{
	return atomic_load_explicit(&self.count, memory_order_relaxed);
}

size_t stacks_bytes(void)
{
	return arena_bytes(&self.arena);
}
