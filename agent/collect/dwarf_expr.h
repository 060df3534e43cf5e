/* SPDX-License-Identifier: Apache-2.0 */
/* DWARF expressions of unwind tables (DWARF 5, section 2.5): arithmetic on registers and stack
 * words. */
#ifndef COLLECT_DWARF_EXPR_H
#define COLLECT_DWARF_EXPR_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/collect/unwind_stack.h"
#include "unwind_regs.h"

enum dwarf_result {
	DWARF_OK,
	DWARF_BAD,	/* malformed, or an operation that has no meaning in unwind tables */
	DWARF_REGISTER, /* needs a register that is not known */
	DWARF_MEMORY	/* needs a word outside the stack */
};

/* Evaluates the expression in [at, end). cfa: pushed first when not NULL, as the rules of registers
 * want it. Context: signal, hook, agent. */
enum dwarf_result dwarf_eval(const uint8_t *at, const uint8_t *end, const struct unwind_regs *regs,
			     struct unwind_stack *stack, const uintptr_t *cfa,
			     uintptr_t *out_value);

#endif
