/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that no table explains: generated code, assembly without tables, tables that want a
 * register whose value nobody knows. The next frame is found by what can be checked: the chain of
 * base pointers, or a word that is the address behind a call instruction.
 *
 * What is found may be wrong: code that was called here earlier leaves its return addresses behind.
 * Hence the marks of trust in struct unwind_walk: after a guess nothing is read that could be
 * unmapped.
 */
#include "agent/base/attr.h"
#include "agent/collect/unwind_rule.h"
#include "agent/collect/unwind_walk.h"

enum {
	REACH_TOP = 4, /* words searched above an interrupted leaf that no table describes, */
	REACH = 16,    /* above other such frames, */
	REACH_GENERATED = 256, /* above generated code, whose frames can be large, */
	REACH_LOST = 64,       /* and for the caller of a function whose registers are not known */
	GENERATED_NEAR = 256 << 20 /* bytes: how far generated code calls its like */
};

enum after_call {
	NOT_AFTER_CALL, /* in an object, and no call ends there */
	AFTER_CALL,	/* described by a table, and a call of a fixed address ends there, */
	AFTER_INDIRECT, /* or one through a register or memory */
	AFTER_CALL_GAP, /* a call ends there, in code without table */
	IN_NO_OBJECT	/* generated code, or no code at all */
};

/* What kind of return address a word may be. */
static enum after_call judge(struct unwind_walk *walk, uintptr_t word)
{
	const uint8_t *at = (const uint8_t *)word;
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
	if (UNLIKELY((word & 4095) < ARCH_CALL_BYTES)) {
		if (!unwind_peek(word - ARCH_CALL_BYTES, code, sizeof(code)))
			return NOT_AFTER_CALL;
		at = code + sizeof(code);
	}
	if (arch_after_indirect_call(at))
		return AFTER_INDIRECT;
	return arch_after_call(at) ? AFTER_CALL : NOT_AFTER_CALL;
}

/* The caller's frame begins above `at`, which holds the return address `pc`. */
static enum unwind_step stepped(struct unwind_walk *walk, uintptr_t at, uintptr_t pc)
{
	struct unwind_regs *regs = &walk->regs;

	regs->reg[ARCH_PC] = pc;
	regs->reg[ARCH_SP] = at + 8;
	regs->known &= ~(uint32_t)ARCH_KNOWN_LOST;
	walk->exact = false;
	return STEP_ON;
}

/* Whether such a word can be the return address of the code at hand. What was generated at run time
 * is never the target of a fixed call in a file; the addresses that such calls left behind on the
 * stack are what searches would otherwise fall for. */
static bool is_caller(enum after_call what, bool generated)
{
	return what == AFTER_INDIRECT || (what == AFTER_CALL && !generated);
}

/* Words that are the address behind a call, as far as the code there can be read. */
static bool is_after_call(uintptr_t word)
{
	uint8_t code[ARCH_CALL_BYTES];

	return unwind_peek(word - ARCH_CALL_BYTES, code, sizeof(code)) &&
	       arch_after_call(code + sizeof(code));
}

static bool is_near(uintptr_t word, uintptr_t near)
{
	return word - near + GENERATED_NEAR < 2 * (uintptr_t)GENERATED_NEAR;
}

/* What no object holds can be the caller in a chain of base pointers when the chain goes on above it:
 * generated code that keeps no base pointer uses the register for something else. Interpreters return to
 * places that no call precedes, but those are near to other generated code. */
static bool is_chained(struct unwind_walk *walk, uintptr_t bp, uintptr_t next, uintptr_t pc)
{
	uintptr_t word;

	return next > bp && unwind_stack_read(&walk->stack, next, &word) &&
	       (is_near(pc, walk->regs.reg[ARCH_PC]) || is_after_call(pc));
}

/* The chain of saved base pointers, which generated code mostly keeps. */
static bool guess_chain(struct unwind_walk *walk, bool generated, uintptr_t *out_at,
			uintptr_t *out_pc)
{
	struct unwind_regs *regs = &walk->regs;
	uintptr_t bp = regs->reg[ARCH_BP], pc, next;
	enum after_call what;

	if (!(regs->known >> ARCH_BP & 1) || bp < regs->reg[ARCH_SP] ||
	    !unwind_stack_read(&walk->stack, bp, &next) ||
	    !unwind_stack_read(&walk->stack, bp + 8, &pc))
		return false;
	if (pc - walk->stack.lo <= walk->stack.last)
		return false;
	what = judge(walk, pc);
	if (what == IN_NO_OBJECT ? !is_chained(walk, bp, next, pc)
				 : what != AFTER_CALL_GAP && !is_caller(what, generated))
		return false;
	regs->reg[ARCH_BP] = next;
	*out_at = bp + 8;
	*out_pc = pc;
	return true;
}

/* Whether the frames above a return address into a file are there: what an earlier call left behind
 * has mostly been written over in part. */
static NOINLINE bool is_followed(struct unwind_walk *walk, uintptr_t at, uintptr_t pc)
{
	struct unwind_regs saved = walk->regs;
	bool exact = walk->exact, followed = true;
	enum unwind_end end = walk->end;

	walk->regs.reg[ARCH_PC] = pc;
	walk->regs.reg[ARCH_SP] = at + 8;
	walk->exact = false;
	for (int i = 0; i < 2 && followed; i++) {
		enum unwind_step step = unwind_step_full(walk, walk->regs.reg[ARCH_PC] - 1);
		enum after_call what;

		if (step != STEP_ON) {
			followed = step == STEP_AGAIN || walk->end == UNWIND_ROOT;
			break;
		}
		what = judge(walk, walk->regs.reg[ARCH_PC]);
		followed = what == AFTER_CALL || what == AFTER_INDIRECT;
	}
	walk->regs = saved;
	walk->exact = exact;
	walk->end = end;
	return followed;
}

/* The nearest word above the stack pointer that can only be a return address. near: generated code,
 * whose like may be the caller; 0: tables must describe it. */
static bool guess_search(struct unwind_walk *walk, uint32_t reach, uintptr_t near,
			 uintptr_t *out_at, uintptr_t *out_pc)
{
	uintptr_t at = ALIGN_UP(walk->regs.reg[ARCH_SP], (uintptr_t)8), below = 0;

	for (; reach--; at += 8) {
		enum after_call what;
		uintptr_t word;

		if (!unwind_stack_read(&walk->stack, at, &word))
			return false;
		what = judge(walk, word);
		if ((is_caller(what, near != 0) && (!near || is_followed(walk, at, word))) ||
		    (near && what == IN_NO_OBJECT && is_near(word, near) && is_after_call(word))) {
			*out_at = at;
			*out_pc = word;
			/* Where generated code does not keep the base pointer, it mostly saves it
			 * first: right below its return address. */
			if (near && below > at && below - walk->stack.lo <= walk->stack.last)
				walk->regs.reg[ARCH_BP] = below;
			return true;
		}
		below = word;
	}
	return false;
}

static enum unwind_step guess(struct unwind_walk *walk)
{
	uint32_t reach = walk->exact ? REACH_TOP : REACH;
	uintptr_t at, pc = walk->regs.reg[ARCH_PC], near = 0;

	if (judge(walk, pc) == IN_NO_OBJECT) {
		near = pc;
		reach = REACH_GENERATED;
	}
	/* Interrupted code that has not pushed anything: its base pointer is its caller's. */
	if (walk->exact && guess_search(walk, 1, near, &at, &pc))
		return stepped(walk, at, pc);
	if (guess_chain(walk, near != 0, &at, &pc))
		return stepped(walk, at, pc);
	if (guess_search(walk, walk->reach > reach ? walk->reach : reach, near, &at, &pc))
		return stepped(walk, at, pc);
	return unwind_stop(walk, UNWIND_NO_RULE);
}

/* The first guess: on any stack but the thread's own, the kernel reads from now on. */
static bool may_guess(struct unwind_walk *walk)
{
	uintptr_t sp = walk->regs.reg[ARCH_SP];

	if (walk->guessed)
		return true;
	walk->guessed = unwind_guess_enter();
	if (walk->guessed && !(sp >= walk->thread_lo && sp < walk->thread_hi))
		unwind_stack_careful(&walk->stack);
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
	uint8_t code[ARCH_JUMP_BYTES];
	uintptr_t target, slot;

	if (!unwind_peek(pc - ARCH_CALL_BYTES, code, ARCH_CALL_BYTES))
		return FIT_NOT;
	arch_call_target(code + ARCH_CALL_BYTES, pc, &target, &slot);
	if (target && target != callee && unwind_peek(target, code, sizeof(code)))
		slot = arch_jump_slot(code, target);
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
		if (!is_caller(judge(walk, word), false))
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
