/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/collect/tally.h"

#include "agent/base/mem.h"

enum { SLOTS_FIRST = 256 };

struct tally {
	struct snapshot *snapshot;
	uint32_t *slots; /* open addressing: index of a sample + 1 */
	size_t mask;
};

struct tally *tally_new(void)
{
	struct tally *t = mem_zalloc(sizeof(*t));

	if (!t)
		return NULL;
	t->snapshot = snapshot_new();
	t->slots = mem_zalloc(SLOTS_FIRST * sizeof(*t->slots));
	t->mask = SLOTS_FIRST - 1;
	if (t->snapshot && t->slots)
		return t;
	tally_drop(t);
	return NULL;
}

void tally_drop(struct tally *t)
{
	if (!t)
		return;
	snapshot_drop(t->snapshot);
	mem_free(t->slots);
	mem_free(t);
}

struct snapshot *tally_end(struct tally *t)
{
	struct snapshot *s = t->snapshot;

	t->snapshot = NULL;
	tally_drop(t);
	return s;
}

static uint32_t *slot_of(struct tally *t, const struct stack *stack, uint32_t tag)
{
	uint64_t h = ((uintptr_t)stack >> 4 ^ (uint64_t)tag << 40) * 0x9e3779b97f4a7c15u;
	size_t at = (h >> 20) & t->mask;

	for (; t->slots[at]; at = (at + 1) & t->mask) {
		const struct sample *s = &t->snapshot->samples[t->slots[at] - 1];

		if (s->stack == stack && s->tag == tag)
			break;
	}
	return &t->slots[at];
}

static bool grow(struct tally *t)
{
	size_t slots = (t->mask + 1) * 2;
	uint32_t *grown = mem_zalloc(slots * sizeof(*grown));

	if (!grown)
		return false;
	mem_free(t->slots);
	t->slots = grown;
	t->mask = slots - 1;
	for (size_t i = 0; i < t->snapshot->n; i++) {
		const struct sample *s = &t->snapshot->samples[i];

		*slot_of(t, s->stack, s->tag) = (uint32_t)i + 1;
	}
	return true;
}

bool tally_add(struct tally *t, const struct stack *stack, uint32_t tag, int64_t first, int64_t second)
{
	struct sample sample = { .stack = stack, .tag = tag, .value = { first, second } };
	uint32_t *slot = slot_of(t, stack, tag);

	if (*slot) {
		struct sample *s = &t->snapshot->samples[*slot - 1];

		s->value[0] += first;
		s->value[1] += second;
		return true;
	}
	if (!snapshot_add(t->snapshot, &sample))
		return false;
	*slot = (uint32_t)t->snapshot->n;
	if (t->snapshot->n * 2 <= t->mask || grow(t))
		return true;
	t->snapshot->incomplete = true;
	return false;
}
