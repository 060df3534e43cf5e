/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of memory that a walk may read: the stack from its stack pointer up, or a copy of it.
 * Aligned words only, each checked. What is not known to stay mapped is read by the kernel
 * (process_vm_readv), so that no access can fault (hazard E7).
 *
 * Context of everything here: signal, hook, agent.
 */
#ifndef COLLECT_UNWIND_STACK_H
#define COLLECT_UNWIND_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/attr.h"

struct unwind_stack {
	uintptr_t lo;	/* words at lo up to lo + last are read directly */
	uintptr_t last; /* lo 1, last 0: none, as no aligned word matches */
	intptr_t shift; /* the word of address a lies at a + shift; not 0 for a copy */
	uint8_t mode;	/* enum unwind_stack_mode: what to do with other words */
	bool denied;	/* the kernel refused process_vm_readv */
};

enum unwind_stack_mode {
	STACK_FIXED,  /* the bounds are the bounds */
	STACK_PROBED, /* readable when asked; as the probe's list has an end, there may be more
			 above */
	STACK_CAREFUL /* every word is read by the kernel */
};

/* Readable words are those in [lo, hi); `copy` holds the bytes from lo on, NULL: read them in
 * place. */
static inline void unwind_stack_fix(struct unwind_stack *stack, uintptr_t lo, uintptr_t hi,
				    const void *copy)
{
	uintptr_t first = ALIGN_UP(lo, sizeof(uintptr_t));

	stack->mode = STACK_FIXED;
	stack->denied = false;
	stack->shift = copy ? (intptr_t)((uintptr_t)copy - lo) : 0;
	stack->lo = 1;
	stack->last = 0;
	if (first >= lo && hi > first && hi - first >= sizeof(uintptr_t)) {
		stack->lo = first;
		stack->last = hi - first - sizeof(uintptr_t);
	}
}

/* What lies below the stack pointer of interrupted code and is still its own: the red zone of the
 * System V ABI. Compilers leave rules there for registers that the epilogue has popped already. */
enum { STACK_RED_ZONE = 128 };

/* Learns the readable extent that begins at sp. false when there is none or the kernel refuses.
 * One system call, two the first time in a process. */
bool unwind_stack_probe(struct unwind_stack *stack, uintptr_t sp);

/* From now on every word is read by the kernel. */
void unwind_stack_careful(struct unwind_stack *stack);

/* A word outside the range known so far. */
bool unwind_stack_read_slow(struct unwind_stack *stack, uintptr_t at, uintptr_t *out_word);

/* The word at `at`; false, and nothing read, when it is outside or not aligned. */
static inline bool unwind_stack_read(struct unwind_stack *stack, uintptr_t at, uintptr_t *out_word)
{
	if (LIKELY(at - stack->lo <= stack->last && !(at & 7))) {
		*out_word = *(const uintptr_t *)(at + (uintptr_t)stack->shift);
		return true;
	}
	return unwind_stack_read_slow(stack, at, out_word);
}

/* Copies memory of this process that may not be readable. false unless all of it was. */
bool unwind_peek(uintptr_t at, void *out_bytes, size_t size);

#endif
