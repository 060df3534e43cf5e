/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stacks that hooks walked before. A program that allocates comes to the same place with the same stack again and
 * again; to see that nothing has changed takes one comparison for each frame instead of a rule, a
 * step, and a search among all stacks.
 *
 * It is no guess: an entry holds all that decided its walk (collect/unwind_log.h), and is taken only when all of
 * it is the same, in the same generation of modules. Walks that needed more than the quick rules are never
 * remembered.
 */
#ifndef COLLECT_RECALL_H
#define COLLECT_RECALL_H

#include <stdbool.h>
#include <stdint.h>

#include "unwind_regs.h"

struct stack;
struct unwind_log;

/* May walks from there be remembered? Context: hook. */
bool recall_may(const struct unwind_regs *from);

/* The stack that a walk from there by this thread would find, or NULL. Only if recall_may(from).
 * leaf, from: see record_from. generation: modules_generation(). Context: hook. */
const struct stack *recall_find(const struct unwind_regs *from, const void *leaf, uint32_t generation);

/* Remembers the walk that was made instead, which reached its root. Context: hook. */
void recall_keep(const struct unwind_regs *from, const void *leaf, uint32_t generation,
		 const struct unwind_log *log, const struct stack *stack);

#endif
