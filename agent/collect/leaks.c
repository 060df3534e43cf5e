/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/collect/leaks.h"

#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "agent/collect/dump.h"

enum { NOBODY = UINT32_MAX };

/* One per thread. Each waits for at most one other: the graph's parts are trees that grow into a circle
 * or a root. */
struct node {
	uint32_t next;	/* index of who holds what it waits for, or NOBODY */
	uint32_t walk;	/* number of the walk that came by, 0: none yet */
	uint8_t leak;	/* enum leak */
	uint8_t orphan; /* the owner has ended */
};

struct leaks {
	const struct dump *dump;
	size_t n, read; /* nodes whose `next` is known */
	struct node nodes[];
};

struct leaks *leaks_begin(const struct dump *dump)
{
	size_t n = dump_n(dump);
	struct leaks *l = mem_zalloc(sizeof(*l) + n * sizeof(l->nodes[0]));

	if (!l)
		return NULL;
	l->dump = dump;
	l->n = n;
	return l;
}

void leaks_drop(struct leaks *l)
{
	mem_free(l);
}

enum leak leaks_at(const struct leaks *l, size_t i)
{
	return (enum leak)l->nodes[i].leak;
}

size_t leaks_next(const struct leaks *l, size_t i)
{
	return l->nodes[i].next;
}

static void read_node(struct leaks *l, size_t i)
{
	const struct dump_thread *t = dump_at(l->dump, i), *owner;
	struct node *node = &l->nodes[i];

	node->next = NOBODY;
	if (t->how != DUMP_ASLEEP || !t->wait.owner || t->wait.timed || !dump_confirm(l->dump, t))
		return;
	/* a thread that has ended ends the wait for its end */
	node->orphan = t->wait.gone && t->wait.what != WAITS_FOR_JOIN;
	owner = t->wait.gone ? NULL : dump_find(l->dump, t->wait.owner);
	if (owner)
		node->next = (uint32_t)(owner - dump_at(l->dump, 0));
}

static void mark_circle(struct leaks *l, uint32_t from)
{
	uint32_t i = from;

	do {
		l->nodes[i].leak = LEAK_CIRCLE;
		i = l->nodes[i].next;
	} while (i != from);
}

/* Follows the way from i until it ends, or meets itself or an earlier one; then tells those on it. */
static void walk(struct leaks *l, uint32_t i)
{
	uint32_t number = i + 1, at = i, leads = LEAK_NONE;

	while (at != NOBODY && !l->nodes[at].walk) {
		l->nodes[at].walk = number;
		if (l->nodes[at].orphan)
			l->nodes[at].leak = LEAK_ORPHAN;
		if (l->nodes[at].next == NOBODY)
			break;
		at = l->nodes[at].next;
	}
	if (l->nodes[at].walk == number && l->nodes[at].next != NOBODY)
		mark_circle(l, at);
	leads = l->nodes[at].leak;
	if (leads == LEAK_NONE)
		return;
	for (; l->nodes[i].leak == LEAK_NONE; i = l->nodes[i].next)
		l->nodes[i].leak = LEAK_BEHIND;
}

int leaks_step(struct leaks *l, uint64_t budget_ns)
{
	uint64_t end = sys_clock_ns(CLOCK_MONOTONIC) + budget_ns;

	for (; l->read < l->n; l->read++) {
		if (sys_clock_ns(CLOCK_MONOTONIC) >= end)
			return 1;
		read_node(l, l->read);
	}
	for (uint32_t i = 0; i < l->n; i++)
		walk(l, i);
	return 0;
}
