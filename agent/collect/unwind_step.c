/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of a walk that are not the quick one: rows that do not fit 8 bytes, signal frames,
 * rules that are not cached yet. Kept out of the quick loop, so that its stack is not theirs.
 */
#include <string.h>

#include "agent/base/attr.h"
#include "agent/collect/modules.h"
#include "agent/collect/unwind_rule.h"
#include "agent/collect/unwind_walk.h"

/* The walk lacks a register. When the quick rules may have lost it, once more with all of them. */
static enum unwind_step register_lost(struct unwind_walk *walk)
{
	if (!walk->full)
		return STEP_AGAIN;
	return unwind_stop(walk, UNWIND_REGISTER);
}

static enum unwind_step expr_failed(struct unwind_walk *walk, enum dwarf_result result)
{
	if (result == DWARF_REGISTER)
		return register_lost(walk);
	return unwind_stop(walk, result == DWARF_MEMORY ? UNWIND_BOUNDS : UNWIND_NO_RULE);
}

static NOINLINE enum dwarf_result eval_at(struct unwind_walk *walk, const struct eh_fde *fde,
					  int32_t distance, const uintptr_t *cfa,
					  uintptr_t *out_value)
{
	const uint8_t *end;
	const uint8_t *at = eh_expr(fde, distance, &end);

	return dwarf_eval(at, end, &walk->regs, &walk->stack, cfa, out_value);
}

/* The caller's value of the register in `slot`. */
static enum dwarf_result recover(struct unwind_walk *walk, const struct eh_fde *fde,
				 const struct eh_row *row, int slot, uintptr_t cfa,
				 uintptr_t *out_value)
{
	const struct unwind_regs *regs = &walk->regs;
	enum dwarf_result result;
	int32_t value = row->value[slot];

	switch (row->how[slot]) {
	case EH_AT_CFA:
		if (!unwind_restore(walk, cfa + (uintptr_t)(intptr_t)value, out_value))
			return DWARF_MEMORY;
		return DWARF_OK;
	case EH_IS_CFA:
		*out_value = cfa + (uintptr_t)(intptr_t)value;
		return DWARF_OK;
	case EH_REGISTER:
		if ((unsigned)value >= ARCH_REGS)
			return DWARF_BAD;
		if (!(regs->known >> value & 1))
			return DWARF_REGISTER;
		*out_value = regs->reg[value];
		return DWARF_OK;
	case EH_AT_EXPR:
	case EH_IS_EXPR:
		result = eval_at(walk, fde, value, &cfa, out_value);
		if (result == DWARF_OK && row->how[slot] == EH_AT_EXPR &&
		    !unwind_stack_read(&walk->stack, *out_value, out_value))
			return DWARF_MEMORY;
		return result;
	default:
		return DWARF_REGISTER;
	}
}

enum unwind_step unwind_step_row(struct unwind_walk *walk, const struct eh_fde *fde,
				 const struct eh_row *row)
{
	struct unwind_regs *regs = &walk->regs;
	uintptr_t value[ARCH_SLOT_OTHER];
	uint32_t known = regs->known;
	enum dwarf_result result;
	uintptr_t cfa;

	if (row->cfa_expr) {
		result = eval_at(walk, fde, row->cfa_expr, NULL, &cfa);
		if (result != DWARF_OK)
			return expr_failed(walk, result);
	} else {
		if (!(known >> row->cfa_register & 1))
			return register_lost(walk);
		cfa = regs->reg[row->cfa_register] + (uintptr_t)(intptr_t)row->cfa_offset;
	}
	if (row->how[ARCH_SLOT_PC] == EH_UNDEFINED)
		return unwind_stop(walk, UNWIND_ROOT);
	for (int slot = 0; slot < ARCH_SLOT_OTHER; slot++) {
		unsigned reg = arch_slot_reg[slot];

		value[slot] = regs->reg[reg];
		if (row->how[slot] == EH_SAME && slot != ARCH_SLOT_SP)
			continue;
		result = DWARF_OK;
		if (row->how[slot] == EH_SAME)
			value[slot] = cfa;
		else
			result = recover(walk, fde, row, slot, cfa, &value[slot]);
		if (result == DWARF_OK)
			known |= 1u << reg;
		else if (slot == ARCH_SLOT_PC || slot == ARCH_SLOT_SP)
			return expr_failed(walk, result);
		else
			known &= ~(1u << reg);
	}
	/* Up, or not moved at the end of longjmp, where the new stack pointer is already in place.
	 */
	if (value[ARCH_SLOT_SP] < regs->reg[ARCH_SP] + !walk->exact)
		return unwind_stop(walk, UNWIND_LOOP);
	if (row->how[ARCH_SLOT_PC] == EH_SAME)
		return unwind_stop(walk, UNWIND_NO_RULE);
	for (int slot = 0; slot < ARCH_SLOT_OTHER; slot++)
		regs->reg[arch_slot_reg[slot]] = value[slot];
	regs->known = known;
	walk->exact = false;
	return STEP_ON;
}

enum unwind_step unwind_step_full(struct unwind_walk *walk, uintptr_t at)
{
	struct eh_object object;
	struct eh_fde fde;
	struct eh_row row;

	if (!eh_object_at(at, &object) || eh_find(&object, at, &fde) != EH_OK ||
	    eh_run(&fde, at, &row) != EH_OK)
		return unwind_stop(walk, UNWIND_NO_RULE);
	return unwind_step_row(walk, &fde, &row);
}

void unwind_on_own_stack(struct unwind_walk *walk, uintptr_t sp)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	uintptr_t lo = sp - STACK_RED_ZONE;

	/* The red zone is mapped where the kernel or a call has written below it since, or where it
	 * is on the page of the stack pointer. */
	if (!(here >= walk->thread_lo && here < lo) && lo < ALIGN_DOWN(sp, (uintptr_t)4096))
		lo = ALIGN_DOWN(sp, (uintptr_t)4096);
	unwind_stack_fix(&walk->stack, lo < walk->thread_lo || lo > sp ? walk->thread_lo : lo,
			 walk->thread_hi, NULL);
}

bool unwind_switch(struct unwind_walk *walk, uintptr_t sp)
{
	if (walk->stack.shift || walk->switches++ >= UNWIND_SWITCHES_MAX || walk->stack.denied)
		return false;
	if (walk->guessed) {
		unwind_stack_careful(&walk->stack);
		return true;
	}
	if (sp >= walk->thread_lo && sp < walk->thread_hi) {
		unwind_on_own_stack(walk, sp);
		return true;
	}
	return unwind_stack_probe(&walk->stack, sp);
}

enum unwind_step unwind_step_signal(struct unwind_walk *walk)
{
	struct unwind_regs *regs = &walk->regs;
	uintptr_t from = regs->reg[ARCH_SP], at = from + ARCH_SIGFRAME_GREGS, ignored, sp;

	/* All or nothing: the last register of the frame is the highest address read. */
	if (!unwind_stack_read(&walk->stack, at + 8 * REG_RIP, &ignored) ||
	    !unwind_stack_read(&walk->stack, at + 8 * REG_RSP, &sp))
		return unwind_stop(walk, UNWIND_BOUNDS);
	for (int i = 0; i < ARCH_REGS; i++)
		if (!unwind_stack_read(&walk->stack, at + 8u * arch_greg[i], &regs->reg[i]))
			return unwind_stop(walk, UNWIND_BOUNDS);
	regs->known = ARCH_KNOWN_ALL;
	walk->exact = true;
	if (sp <= from || !unwind_stack_read(&walk->stack, ALIGN_UP(sp, (uintptr_t)8), &ignored))
		if (!unwind_switch(walk, sp))
			return unwind_stop(walk, walk->switches > UNWIND_SWITCHES_MAX
							 ? UNWIND_LOOP
							 : UNWIND_BOUNDS);
	return STEP_ON;
}

/* A rule for code in an object that has no table for it. */
static uint64_t rule_of_gap(uintptr_t at)
{
	uint8_t code[ARCH_SIGRETURN_BYTES];

	/* A signal trampoline of a C library without tables is looked up as "return address - 1".
	 */
	if (unwind_peek(at + 1, code, sizeof(code)) && arch_is_sigreturn(code))
		return RULE_SIGNAL;
	if (unwind_peek(at + 1 - ARCH_CALL_BYTES, code, ARCH_CALL_BYTES) &&
	    arch_after_call(code + ARCH_CALL_BYTES))
		return RULE_GAP_CALL;
	return RULE_GAP;
}

static NOINLINE uint64_t make_rule(uintptr_t at)
{
	struct eh_object object;
	struct eh_fde fde;
	struct eh_row row;

	if (at >> 48 || !eh_object_at(at, &object))
		return RULE_NONE;
	if (eh_find(&object, at, &fde) != EH_OK || eh_run(&fde, at, &row) != EH_OK)
		return rule_of_gap(at);
	return rule_from_row(&fde, &row);
}

uint64_t unwind_rule_of(struct unwind_walk *walk, uintptr_t at)
{
	uint64_t rule = RULE_NONE;

	if (LIKELY(at < walk->cached))
		rule = rule_get(at, walk->generation);
	if (rule == RULE_NONE) {
		rule = make_rule(at);
		if (rule != RULE_NONE && at < walk->cached)
			rule_put(at, walk->generation, rule);
	}
	return rule;
}
