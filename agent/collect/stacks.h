/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each distinct stack, stored once, for ever. Insert-only and lock-free; bounded by the budget:
 * when it is spent, the caller gets the stack [other stacks], and STAT_STACKS_FULL counts it.
 *
 * Identity is (PCs, module generation): code that was unloaded and code that later lies at the same
 * addresses never share a stack (hazard F3).
 */
#ifndef COLLECT_STACKS_H
#define COLLECT_STACKS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct stack {
	_Atomic(struct stack *) next; /* chain of its hash slot; immutable once published */
	uint64_t hash;
	uint32_t generation; /* modules_generation() when it was taken */
	uint32_t depth;
	uintptr_t pcs[]; /* leaf first: collect/frames.h */
};

/* The stored stack equal to these PCs; never NULL. The first `depth` frames, at most FRAMES_MAX.
 * Context: signal, hook, agent. */
const struct stack *stacks_intern(const uintptr_t *pcs, uint32_t depth, uint32_t generation);

/* Number of distinct stacks, bytes that they take. Context: any. */
uint64_t stacks_count(void);
size_t stacks_bytes(void);

#endif
