/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/collect/modules.h"
#include "agent/collect/snapshot.h"
#include "agent/collect/stacks.h"
#include "tests/unit/test.h"

static const struct stack *stack_of(uint32_t generation)
{
	const uintptr_t pcs[] = { 0x1000, 0x2000, 0x3000 };

	return stacks_intern(pcs, 3, generation);
}

/* Nothing was unloaded in between: one row, values added up. */
TEST(snapshot_joins_generations)
{
	struct snapshot *s = snapshot_new();

	for (uint32_t generation = 0; generation < 5; generation++) {
		struct sample sample = { .stack = stack_of(generation), .value = { 1, 10 } };
		struct sample other = { .stack = stack_of(generation), .key = 7, .value = { 2, 20 } };

		CHECK(snapshot_add(s, &sample) && snapshot_add(s, &other));
	}
	CHECK_INT(s->n, 10);
	CHECK(snapshot_join_generations(s));
	CHECK_INT(s->n, 2);
	CHECK_INT(s->samples[0].value[1], 50);
	CHECK_INT(s->samples[1].value[0], 10);
	snapshot_drop(s);
}

/* What is gone in the later one is negative, what did not change disappears. */
TEST(snapshot_subtracts)
{
	struct snapshot *before = snapshot_new(), *after = snapshot_new();
	struct sample a = { .stack = stack_of(0), .value = { 5, 50 } };
	struct sample b = { .stack = stack_of(1), .value = { 3, 30 } };

	CHECK(snapshot_add(before, &a) && snapshot_add(before, &b));
	a.value[0] = 7;
	CHECK(snapshot_add(after, &a));
	CHECK(snapshot_subtract(after, before));
	CHECK_INT(after->n, 2);
	CHECK_INT(after->samples[0].value[0], 2);
	CHECK_INT(after->samples[0].value[1], 0);
	CHECK_INT(after->samples[1].value[1], -30);
	CHECK(snapshot_subtract(after, after));
	CHECK_INT(after->n, 0);
}
