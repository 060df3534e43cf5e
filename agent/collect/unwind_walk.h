/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One walk, for those who start it: unwind.c (live threads), unwind_remote.c (copies of stacks),
 * tests.
 *
 * Context of everything here: signal, hook, agent.
 */
#ifndef COLLECT_UNWIND_WALK_H
#define COLLECT_UNWIND_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/collect/dwarf_expr.h"
#include "agent/collect/ehframe.h"
#include "agent/collect/unwind.h"
#include "agent/collect/unwind_log.h"
#include "agent/collect/unwind_stack.h"

/* Where a walk starts, and into what it writes. The caller fills everything above the line. */
struct unwind_walk {
	const struct unwind_regs *from; /* PC and stack pointer are always known */
	uintptr_t thread_lo, thread_hi; /* bounds of the thread's own stack; 0, 0: not known */
	uintptr_t *pcs;
	uint32_t max;
	bool force_full; /* follow every preserved register from the start */
	struct unwind_log *log; /* what is read goes there too; NULL: nobody wants it */
	uint32_t reach;	 /* words that a search for a return address may cross, 0: the usual few */

	/* ---- the walk's own */
	struct unwind_stack stack; /* for a walk over a copy, its caller fixes this too */
	struct unwind_regs regs;   /* of the frame at hand */
	uint32_t n;
	uint32_t generation;
	uintptr_t cached; /* PCs below have cached rules: 2^48, or 0 while a module is being
			     unloaded */
	enum unwind_end end;
	uint8_t switches; /* times that the walk went to another stack */
	bool exact;	  /* the PC is one to be executed next, not a return address */
	bool full;	  /* follow every preserved register: slower, no cache */
	bool guessed;	  /* guesses are being made: nothing on from there is trusted */
};

enum {
	UNWIND_SWITCHES_MAX = 8,
	UNWIND_LOWEST_PC = 4096 /* no code is mapped below: mmap_min_addr */
};
/* Size of the part of the address space in which code is mapped. */
static const uintptr_t UNWIND_PCS = ((uintptr_t)1 << 56) - UNWIND_LOWEST_PC;

/* Walks; the result is in n and end. `live`: on the stack itself, whose bounds it finds.
 * Leaves errno alone. */
void unwind_walk(struct unwind_walk *walk, bool live);

/* What one step says. */
enum unwind_step {
	STEP_ON,   /* regs are those of the caller */
	STEP_END,  /* walk->end says why */
	STEP_AGAIN /* needs a register that the quick rules do not follow: start again, full */
};

/* One frame by its table, every register followed. `at` is the PC to look up. */
enum unwind_step unwind_step_full(struct unwind_walk *walk, uintptr_t at);
/* The same with the row at hand. */
enum unwind_step unwind_step_row(struct unwind_walk *walk, const struct eh_fde *fde,
				 const struct eh_row *row);
/* Behind a signal trampoline: registers and stack of the interrupted code. */
enum unwind_step unwind_step_signal(struct unwind_walk *walk);
/* One frame of code that no table describes. */
enum unwind_step unwind_step_guess(struct unwind_walk *walk);
/* One frame whose table wants a register that is not known. `at`: the PC looked up. */
enum unwind_step unwind_step_search(struct unwind_walk *walk, uintptr_t at);

/* The rule of a PC, from the cache or made. */
uint64_t unwind_rule_of(struct unwind_walk *walk, uintptr_t at);

/* The walk is on the thread's own stack, at sp. */
void unwind_on_own_stack(struct unwind_walk *walk, uintptr_t sp);

/* Says why the walk ends. */
static inline enum unwind_step unwind_stop(struct unwind_walk *walk, enum unwind_end why)
{
	walk->end = why;
	return STEP_END;
}

/* Reads a saved register. Below the stack pointer of interrupted code, where nothing may be
 * readable, the register was popped already and keeps its value. */
static inline bool unwind_restore(struct unwind_walk *walk, uintptr_t at, uintptr_t *reg)
{
	return unwind_stack_read(&walk->stack, at, reg) ||
	       (walk->exact && at < walk->regs.reg[ARCH_SP]);
}

/* Moves to the stack that holds `sp`. */
bool unwind_switch(struct unwind_walk *walk, uintptr_t sp);

/* Address to which a function started by makecontext returns, 0 when there is no such thing. */
uintptr_t unwind_start_context(void);

/* True between unwind_before_close and unwind_after_close of any thread. */
bool unwind_closing(void);

/* After a guess a walk may read tables of a module that nobody uses any more: such a walk keeps
 * dlclose from unmapping until it ends. false while a module is being unloaded. Each true is paired
 * with unwind_guess_leave. */
bool unwind_guess_enter(void);
void unwind_guess_leave(void);

#endif
