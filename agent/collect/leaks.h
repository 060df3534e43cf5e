/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads of a dump that can never go on: each waits, without a time limit, for a lock (or the end of a
 * thread) and following "waits for, held by" leads into a circle or to a lock whose owner has ended.
 *
 * The threads were read one after the other; that they all waited at the same instant is known because
 * none of them has run since it was read, and that each lock's owner is still the same is read again.
 *
 * Context: agent.
 */
#ifndef COLLECT_LEAKS_H
#define COLLECT_LEAKS_H

#include <stddef.h>
#include <stdint.h>

struct dump;
struct leaks;

enum leak {
	LEAK_NONE,   /* it may go on */
	LEAK_CIRCLE, /* part of a circle */
	LEAK_ORPHAN, /* what it waits for was held by a thread that has ended */
	LEAK_BEHIND  /* it waits for one of the others */
};

/* The dump is complete, has details, and lives longer. NULL: out of memory. */
struct leaks *leaks_begin(const struct dump *dump);
/* Works for about budget_ns. 1: more to do; 0: done. */
int leaks_step(struct leaks *leaks, uint64_t budget_ns);

/* What becomes of thread i of the dump, and the index of the one that it waits for. */
enum leak leaks_at(const struct leaks *leaks, size_t i);
size_t leaks_next(const struct leaks *leaks, size_t i);

void leaks_drop(struct leaks *leaks);

#endif
