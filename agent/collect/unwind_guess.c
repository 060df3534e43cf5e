/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that no table explains: generated code, assembly without tables, tables that want a register
 * whose value nobody knows. The next frame is found by what can be checked: the chain of base
 * pointers, or a word that is the address behind a call instruction.
 *
 * What is found may be wrong: code that was called here earlier leaves its return addresses behind.
 * Hence the marks of trust in struct unwind_walk: after a guess nothing is read that could be unmapped.
 */
#include "agent/base/attr.h"
#include "agent/collect/unwind_rule.h"
#include "agent/collect/unwind_walk.h"

enum {
	REACH_TOP = 4, /* words searched above an interrupted leaf that no table describes, */
	REACH = 16,    /* above other such frames, */
	REACH_LOST = 64 /* and for the caller of a function whose registers are not known */
};

enum after_call {
	NOT_AFTER_CALL, /* in an object, and no call ends there */
	AFTER_CALL,	/* described by a table, and a call ends there */
	AFTER_CALL_GAP, /* a call ends there, in code without table */
	IN_NO_OBJECT	/* generated code, or no code at all */
};

/* What kind of return address a word may be. */
static enum after_call judge(struct unwind_walk *walk, uintptr_t word)
{
	uint8_t code[ARCH_CALL_BYTES];
	uint64_t rule;

	if (word < UNWIND_LOWEST_PC || word >> 47)
		return NOT_AFTER_CALL;
	rule = unwind_rule_of(walk, word - 1);
	if (rule == RULE_NONE)
		return IN_NO_OBJECT;
	if (rule_kind(rule) == RULE_GAP_CALL)
		return AFTER_CALL_GAP;
	if (rule_kind(rule) == RULE_GAP || rule_kind(rule) == RULE_SIGNAL)
		return NOT_AFTER_CALL;
	/* Code with a table is readable; the page before it may not be. */
	if (LIKELY((word & 4095) >= ARCH_CALL_BYTES))
		return arch_after_call((const uint8_t *)word) ? AFTER_CALL : NOT_AFTER_CALL;
	if (!unwind_peek(word - ARCH_CALL_BYTES, code, sizeof(code)))
		return NOT_AFTER_CALL;
	return arch_after_call(code + sizeof(code)) ? AFTER_CALL : NOT_AFTER_CALL;
}

/* The caller's frame begins above `at`, which holds the return address `pc`. */
static enum unwind_step stepped(struct unwind_walk *walk, uintptr_t at, uintptr_t pc)
{
	struct unwind_regs *regs = &walk->regs;

	regs->reg[ARCH_PC] = pc;
	regs->reg[ARCH_SP] = at + 8;
	regs->known &= ~(uint32_t)ARCH_KNOWN_LOST;
	walk->exact = false;
	if (walk->stack.mode == STACK_PROBED ||
	    !(walk->stack.shift || (at >= walk->thread_lo && at < walk->thread_hi)))
		unwind_stack_careful(&walk->stack);
	return STEP_ON;
}

/* The chain of saved base pointers, which generated code mostly keeps. */
static bool guess_chain(struct unwind_walk *walk, uintptr_t *out_at, uintptr_t *out_pc)
{
	struct unwind_regs *regs = &walk->regs;
	uintptr_t bp = regs->reg[ARCH_BP], pc, next;

	if (!(regs->known >> ARCH_BP & 1) || bp < regs->reg[ARCH_SP] ||
	    !unwind_stack_read(&walk->stack, bp, &next) ||
	    !unwind_stack_read(&walk->stack, bp + 8, &pc))
		return false;
	if (pc - walk->stack.lo <= walk->stack.last || judge(walk, pc) == NOT_AFTER_CALL)
		return false;
	regs->reg[ARCH_BP] = next;
	*out_at = bp + 8;
	*out_pc = pc;
	return true;
}

/* The nearest word above the stack pointer that can only be a return address. */
static bool guess_search(struct unwind_walk *walk, uint32_t reach, uintptr_t *out_at,
			 uintptr_t *out_pc)
{
	uintptr_t at = ALIGN_UP(walk->regs.reg[ARCH_SP], (uintptr_t)8);

	for (; reach--; at += 8) {
		uintptr_t word;

		if (!unwind_stack_read(&walk->stack, at, &word))
			return false;
		if (judge(walk, word) == AFTER_CALL) {
			*out_at = at;
			*out_pc = word;
			return true;
		}
	}
	return false;
}

static enum unwind_step guess(struct unwind_walk *walk)
{
	uint32_t reach = walk->exact ? REACH_TOP : REACH;
	uintptr_t at, pc;

	if (walk->exact && guess_search(walk, 1, &at, &pc)) {
		/* Interrupted code that has not pushed anything: its base pointer is its caller's. */
		return stepped(walk, at, pc);
	}
	if (guess_chain(walk, &at, &pc) ||
	    guess_search(walk, walk->reach > reach ? walk->reach : reach, &at, &pc))
		return stepped(walk, at, pc);
	return unwind_stop(walk, UNWIND_NO_RULE);
}

static bool may_guess(struct unwind_walk *walk)
{
	if (!walk->guessed)
		walk->guessed = unwind_guess_enter();
	return walk->guessed;
}

enum unwind_step unwind_step_guess(struct unwind_walk *walk)
{
	if (!walk->exact && walk->regs.reg[ARCH_PC] == unwind_start_context())
		return unwind_stop(walk, UNWIND_ROOT);
	if (!may_guess(walk))
		return unwind_stop(walk, UNWIND_NO_RULE);
	return guess(walk);
}

/* How well a return address fits a function that starts at `callee`. */
enum fit {
	FIT_NOT,
	FIT_ELSEWHERE, /* its call goes to another function, which may have jumped on to ours */
	FIT_PERHAPS,   /* only a register told what it called */
	FIT_CERTAIN    /* it called our function */
};

static enum fit fit(uintptr_t pc, uintptr_t callee)
{
	uint8_t code[ARCH_STUB_BYTES];
	uintptr_t target, slot;

	if (!unwind_peek(pc - ARCH_CALL_BYTES, code, ARCH_CALL_BYTES))
		return FIT_NOT;
	arch_call_target(code + ARCH_CALL_BYTES, pc, &target, &slot);
	if (target && target != callee && unwind_peek(target, code, sizeof(code)))
		slot = arch_stub_slot(code, target);
	if (slot && !unwind_peek(slot, &target, sizeof(target)))
		return FIT_NOT;
	if (target)
		return target == callee ? FIT_CERTAIN : FIT_ELSEWHERE;
	return FIT_PERHAPS;
}

/* Where the return address of the function of `fde` is: the best of those in reach, of equals the
 * nearest. 0 when there is none. */
static uintptr_t search_best(struct unwind_walk *walk, const struct eh_fde *fde, uint32_t reach)
{
	uintptr_t at = ALIGN_UP(walk->regs.reg[ARCH_SP], (uintptr_t)8), best_at = 0;
	enum fit best = FIT_NOT;

	for (; reach-- && best != FIT_CERTAIN; at += 8) {
		uintptr_t word;
		enum fit now;

		if (!unwind_stack_read(&walk->stack, at, &word))
			break;
		if (judge(walk, word) != AFTER_CALL)
			continue;
		now = fit(word, fde->start);
		if (now > best) {
			best = now;
			best_at = at;
		}
	}
	return best_at;
}

/* The place of the return address tells the CFA, and the CFA the register that was wanted. */
static NOINLINE enum unwind_step search(struct unwind_walk *walk, uintptr_t at)
{
	struct unwind_regs *regs = &walk->regs;
	struct eh_object object;
	struct eh_fde fde;
	struct eh_row row;
	uintptr_t found, pc;

	if (!eh_object_at(at, &object) || eh_find(&object, at, &fde) != EH_OK ||
	    eh_run(&fde, at, &row) != EH_OK)
		return unwind_stop(walk, UNWIND_REGISTER);
	found = search_best(walk, &fde, walk->reach > REACH_LOST ? walk->reach : REACH_LOST);
	if (!found || !unwind_stack_read(&walk->stack, found, &pc))
		return unwind_stop(walk, UNWIND_REGISTER);
	if (row.cfa_expr || row.how[ARCH_SLOT_PC] != EH_AT_CFA) {
		regs->known &= ~(1u << ARCH_BP | 1u << ARCH_RBX);
		return stepped(walk, found, pc);
	}
	regs->reg[row.cfa_register] = found - (uintptr_t)(intptr_t)row.value[ARCH_SLOT_PC] -
				      (uintptr_t)(intptr_t)row.cfa_offset;
	regs->known |= 1u << row.cfa_register;
	return unwind_step_row(walk, &fde, &row);
}

enum unwind_step unwind_step_search(struct unwind_walk *walk, uintptr_t at)
{
	if (!may_guess(walk))
		return unwind_stop(walk, UNWIND_REGISTER);
	return search(walk, at);
}
