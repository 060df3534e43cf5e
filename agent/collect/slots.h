/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash slots of a table that only grows and has no lock: heads of chains, to be read with acquire and
 * changed by compare-and-swap. Untouched slots cost nothing, so their number is chosen by the budget for
 * memory; what is used is charged through the entries themselves.
 */
#ifndef COLLECT_SLOTS_H
#define COLLECT_SLOTS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct slots {
	size_t mask;
	_Atomic(void *) first[];
};

/* Makes them, once, whoever comes first; NULL when there is no memory. Context: signal, hook. */
struct slots *slots_make(_Atomic(struct slots *) *home);

/* The slot of this hash, in slots that the first caller makes; NULL when there is no memory.
 * Context: signal, hook. */
static inline _Atomic(void *) *slots_at(_Atomic(struct slots *) *home, uint64_t hash)
{
	/* acquire: with slots_make's release */
	struct slots *slots = atomic_load_explicit(home, memory_order_acquire);

	if (!slots)
		slots = slots_make(home);
	return slots ? &slots->first[hash & slots->mask] : NULL;
}

#endif
