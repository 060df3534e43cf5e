/* SPDX-License-Identifier: Apache-2.0 */
/* encode/symtab and encode/gone: look-ups against plain searches. */
#include <unistd.h>

#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "agent/collect/modules.h"
#include "encode/gone.h"
#include "encode/grow.h"
#include "encode/symtab.h"
#include "tests/unit/test.h"

static void add(struct symtab *table, uint32_t start, uint32_t size, uint32_t name)
{
	CHECK(grow_room(&table->list, &table->room, table->n + 1, sizeof(*table->list)));
	table->list[table->n++] =
		(struct symtab_entry){ .start = start, .size = size, .name = name };
}

static long name_at(const struct symtab *table, uint64_t vaddr)
{
	const struct symtab_entry *first;
	bool sure;

	return symtab_find(table, vaddr, &first, &sure) ? (long)first->name : -1;
}

TEST(symtab_sizes_bound_names)
{
	struct symtab table = { .base = 0x1000 };
	const struct symtab_entry *first;
	bool sure;

	budget_set(1 << 24);
	add(&table, 0x100, 0x10, 1); /* then a gap */
	add(&table, 0x200, 0, 2);    /* label without a size */
	add(&table, 0x300, 0x100, 3);
	add(&table, 0x340, 0, 4);    /* a label inside a function */
	add(&table, 0x350, 0x10, 5); /* a function inside a function */
	add(&table, 0x300, 0x100, 6);
	add(&table, 0x300, 0, 7);
	symtab_finish(&table);
	CHECK_INT(name_at(&table, 0xfff), -1);
	CHECK_INT(name_at(&table, 0x1000), -1);
	CHECK_INT(name_at(&table, 0x10ff), -1);
	CHECK_INT(name_at(&table, 0x1100), 1);
	CHECK_INT(name_at(&table, 0x110f), 1);
	CHECK_INT(name_at(&table, 0x1110), -1);
	CHECK_INT(name_at(&table, 0x1200), 2);
	CHECK_INT(symtab_find(&table, 0x12ff, &first, &sure), 1);
	CHECK(!sure);
	CHECK_INT(symtab_find(&table, 0x1310, &first, &sure), 2); /* two names, the label is none */
	CHECK(sure);
	CHECK_INT(first->start, 0x300);
	CHECK_INT(symtab_find(&table, 0x1345, &first, &sure), 2); /* not the label */
	CHECK_INT(first->start, 0x300);
	CHECK_INT(name_at(&table, 0x1350), 5);
	CHECK_INT(symtab_find(&table, 0x1360, &first, &sure), 2);
	CHECK_INT(first->start, 0x300);
	CHECK_INT(name_at(&table, 0x1400), -1);
	symtab_free(&table);
	CHECK_INT(mem_used(), 0);
}

/* The innermost (latest starting, then smallest) sized symbol that covers an address. */
TEST(symtab_equals_a_plain_search)
{
	enum { SPACE = 3000, N = 300 };
	unsigned seed = 5;

	budget_set(1 << 26);
	for (int round = 0; round < 20; round++) {
		struct symtab table = { 0 };
		struct {
			uint32_t start, size;
		} plain[N];

		for (uint32_t i = 0; i < N; i++) {
			plain[i].start = (uint32_t)rand_r(&seed) % SPACE;
			plain[i].size = (uint32_t)rand_r(&seed) % (round % 2 ? 30 : 600);
			add(&table, plain[i].start, plain[i].size, i);
		}
		symtab_finish(&table);
		for (uint32_t a = 0; a < SPACE + 700; a++) {
			const struct symtab_entry *first;
			long best = -1, label = -1;
			bool sure;
			size_t n = symtab_find(&table, a, &first, &sure);

			for (uint32_t i = 0; i < N; i++) {
				if (plain[i].start > a)
					continue;
				if (a < plain[i].start + plain[i].size)
					best = best < plain[i].start ? plain[i].start : best;
				label = label < plain[i].start ? plain[i].start : label;
			}
			if (best >= 0) {
				CHECK(n > 0 && sure);
				CHECK_INT(first->start, best);
				for (size_t k = 0; k < n; k++)
					CHECK(first[k].start == best && a - first[k].start < first[k].size);
			} else if (n > 0) {
				CHECK(!sure);
				CHECK_INT(first->start, label);
				CHECK_INT(first->size, 0);
			} else {
				for (uint32_t i = 0; i < N; i++)
					CHECK(plain[i].start != label || plain[i].size > 0);
			}
		}
		symtab_free(&table);
	}
}

TEST(symtab_sorts_a_million_that_are_equal_or_reversed)
{
	enum { N = 1000000 };
	struct symtab table = { 0 };

	budget_set((size_t)1 << 30);
	for (uint32_t i = 0; i < N; i++)
		add(&table, i % 2 ? 77 : N - i, i % 5, i);
	symtab_finish(&table);
	for (uint32_t i = 1; i < N; i++) {
		const struct symtab_entry *a = &table.list[i - 1], *b = &table.list[i];

		CHECK(a->start < b->start || (a->start == b->start && a->size >= b->size));
	}
	symtab_free(&table);
	CHECK_INT(mem_used(), 0);
}

static struct module_gone *tombstone(struct module_gone *next, uint64_t start, uint64_t end,
				     uint32_t generation, const char *path)
{
	struct module_gone *m = calloc(1, sizeof(*m) + strlen(path) + 1);

	m->next = next;
	m->start = start;
	m->end = end;
	m->generation = generation;
	m->inode = 7;
	strcpy(m->path, path);
	return m;
}

static const char *path_at(const struct gone *gone, uint64_t address, uint32_t generation)
{
	uint32_t place = gone_find(gone, address, generation);

	return place ? gone->places[place - 1].module->path : "-";
}

TEST(gone_names_the_module_of_the_time)
{
	struct module_gone *list = NULL;
	struct gone gone;

	budget_set(1 << 24);
	CHECK(gone_read(&gone, NULL));
	CHECK_INT(gone_find(&gone, 0x1000, 0), 0);
	gone_free(&gone);
	list = tombstone(list, 0x1000, 0x3000, 2, "/a.so");
	list = tombstone(list, 0x2000, 0x5000, 4, "/b.so");
	list = tombstone(list, 0x1000, 0x3000, 6, "/a.so");
	list = tombstone(list, 0x1000, 0x3000, 9, "/c.so");
	CHECK(gone_read(&gone, list));
	CHECK_INT(gone.n_places, 3);
	CHECK_STR(path_at(&gone, 0xfff, 1), "-");
	CHECK_STR(path_at(&gone, 0x1000, 0), "/a.so");
	CHECK_STR(path_at(&gone, 0x1000, 2), "/a.so");
	CHECK_STR(path_at(&gone, 0x1000, 3), "/a.so"); /* loaded again for generation 6 */
	CHECK_STR(path_at(&gone, 0x1000, 7), "/c.so");
	CHECK_STR(path_at(&gone, 0x1000, 10), "-");
	CHECK_STR(path_at(&gone, 0x2800, 2), "/a.so");
	CHECK_STR(path_at(&gone, 0x2800, 3), "/b.so");
	CHECK_STR(path_at(&gone, 0x2800, 5), "/a.so");
	CHECK_STR(path_at(&gone, 0x4000, 1), "/b.so");
	CHECK_STR(path_at(&gone, 0x4000, 5), "-");
	CHECK_STR(path_at(&gone, 0x5000, 1), "-");
	gone_free(&gone);
	CHECK_INT(mem_used(), 0);
}

TEST(gone_ten_thousand_reloads)
{
	struct module_gone *list = NULL;
	struct gone gone;

	budget_set(1 << 24);
	for (uint32_t i = 0; i < 10000; i++)
		list = tombstone(list, 0x10000 + i % 3 * 0x800, 0x12000 + i % 3 * 0x800, i,
				 i % 2 ? "/odd.so" : "/even.so");
	CHECK(gone_read(&gone, list));
	CHECK_INT(gone.n_places, 6);
	for (uint32_t i = 0; i < 10000; i++)
		CHECK_STR(path_at(&gone, 0x11800, i), i % 2 ? "/odd.so" : "/even.so");
	gone_free(&gone);
	CHECK_INT(mem_used(), 0);
}
