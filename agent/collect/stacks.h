/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each distinct stack, stored once, for ever. Insert-only and lock-free; bounded by the budget:
 * when it is spent, the caller gets the stack [other stacks], and STAT_STACKS_FULL counts it.
 *
 * Identity is (PCs, module generation since which nothing was unloaded where they lie): code that was
 * unloaded and code that later lies at the same addresses never share a stack (hazard F3), and a stack that
 * passes through neither is one for all time.
 */
#ifndef COLLECT_STACKS_H
#define COLLECT_STACKS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct stack {
	_Atomic(struct stack *) next; /* chain of its hash slot; immutable once published */
	uint64_t hash;
	uint32_t generation; /* the first in which these addresses meant this: collect/unloads.h */
	uint32_t depth;
	uintptr_t pcs[]; /* leaf first: collect/frames.h */
};

/* The stored stack equal to these PCs; never NULL. The first `depth` frames, at most FRAMES_MAX.
 * generation: modules_generation() before they were read.
 * Context: signal, hook, agent. */
const struct stack *stacks_intern(const uintptr_t *pcs, uint32_t depth, uint32_t generation);

/* Number of distinct stacks, bytes that they take. Context: any. */
uint64_t stacks_count(void);
size_t stacks_bytes(void);

#endif
