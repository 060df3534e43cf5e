/* SPDX-License-Identifier: Apache-2.0 */
/* collect/unloads: since when an address means what it means, against a plain list of all unloads. */
#include "agent/base/stats.h"
#include "agent/collect/stacks.h"
#include "agent/collect/unloads.h"
#include "tests/unit/test.h"

static uint32_t since(uintptr_t pc, uint32_t generation)
{
	return unloads_since(&pc, 1, generation);
}

TEST(unloads_are_exact_to_the_page)
{
	const uintptr_t at = 0x7f0000001000;
	const uintptr_t both[] = { at, at + 0x100000 };

	CHECK_INT(since(at, 0), 0);
	CHECK(unloads_note(at, at + 0x2000, 1));
	CHECK_INT(since(at - 1, 5), 0);
	CHECK_INT(since(at, 5), 1);
	CHECK_INT(since(at + 0x1fff, 5), 1);
	CHECK_INT(since(at + 0x2000, 5), 0);
	CHECK_INT(since(at, 0), 0); /* read before */
	/* over many blocks, from within a block to within another */
	CHECK(unloads_note(at + 0x3000, at + 0x223000, 4));
	CHECK_INT(since(at + 0x2fff, 9), 0);
	CHECK_INT(since(at + 0x3000, 9), 4);
	CHECK_INT(since(at + 0x222fff, 9), 4);
	CHECK_INT(since(at + 0x223000, 9), 0);
	CHECK_INT(unloads_since(both, 2, 9), 4);
	CHECK_INT(unloads_since(both, 2, 3), 3);
}

TEST(unloads_of_what_nobody_saw_leave_nothing)
{
	const uintptr_t at = 0x7f0000001000;

	CHECK(unloads_note(at, at + 0x30000, 1)); /* perhaps somebody did, before we knew the place */
	CHECK(!unloads_note(at, at + 0x30000, 2));
	CHECK_INT(since(at + 0x8000, 7), 1);
	CHECK(unloads_note(at, at + 0x30000, 8));
	CHECK(!unloads_note(at, at + 0x30000, 9));
	unloads_enter(); /* a walk is under way */
	CHECK(unloads_note(at, at + 0x30000, 10));
	unloads_leave();
	CHECK(!unloads_note(at, at + 0x30000, 11));
	CHECK(unloads_note(at, at + 0x31000, 12)); /* a page that was never unloaded before */
	CHECK_INT(since(at, 20), 12);
}

/* Ranges at random against a list of all. */
TEST(unloads_like_a_plain_list)
{
	enum { RANGES = 200 };
	static struct {
		uint64_t start, end;
		uint32_t next;
	} list[RANGES];
	uint64_t random = 12345;

	for (uint32_t i = 0; i < RANGES; i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		list[i].start = 0x7e0000000000 + (random >> 40) % 1500 * 4096;
		list[i].end = list[i].start + (1 + (random >> 20) % 60) * 4096;
		list[i].next = i + 1;
		unloads_enter();
		CHECK(unloads_note(list[i].start, list[i].end, list[i].next));
		unloads_leave();
		for (uint64_t page = 0; page < 1600; page += 7) {
			uint64_t pc = 0x7e0000000000 + page * 4096 + 77;
			uint32_t want = 0;

			for (uint32_t k = 0; k <= i; k++)
				if (pc >= list[k].start && pc < list[k].end)
					want = list[k].next;
			CHECK_INT(since(pc, UINT32_MAX), want);
		}
	}
}

TEST(unloads_too_many_count_for_all_addresses)
{
	uint64_t before = stat_read(STAT_UNLOADS_CROWDED);
	uint32_t next = 1;

	for (uintptr_t at = 0x100000; stat_read(STAT_UNLOADS_CROWDED) == before; at += 0x2000) {
		CHECK(next < 100000);
		CHECK(unloads_note(at, at + 0x1000, next++));
	}
	CHECK(next > 5000);
	CHECK_INT(since(0x55550000, next), next - 1);
}

TEST(unloads_elsewhere_leave_a_stack_the_same)
{
	const uintptr_t program[] = { 0x555500001234, 0x555500002345 };
	const uintptr_t plugin[] = { 0x7f0000001234, 0x555500002345 };
	const struct stack *of_program = stacks_intern(program, 2, 0), *of_plugin = stacks_intern(plugin, 2, 0);

	for (uint32_t generation = 1; generation < 1000; generation++) {
		CHECK(unloads_note(0x7f0000001000, 0x7f0000003000, generation));
		CHECK(stacks_intern(program, 2, generation) == of_program);
		CHECK(stacks_intern(plugin, 2, generation) != of_plugin);
	}
	CHECK_INT(stacks_count(), 1001);
	CHECK(stacks_intern(plugin, 2, 0) == of_plugin);
}
