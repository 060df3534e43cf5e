/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The quick walk: one cache look-up, one addition and two or three loads per frame. Runs in the
 * signal handler and in hooks: no lock, no allocation, no system call on a stack whose bounds are
 * known, errno untouched. What the quick rules cannot say is in unwind_step.c.
 */
#include "agent/collect/unwind.h"

#include <stddef.h>

#include "agent/base/attr.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/base/tls.h"
#include "agent/collect/modules.h"
#include "agent/collect/unwind_rule.h"
#include "agent/collect/unwind_walk.h"

extern __typeof__(getcontext) getcontext __attribute__((weak));
extern __typeof__(makecontext) makecontext __attribute__((weak));

static struct {
	uintptr_t start_context;
	_Atomic uint32_t guessing; /* walks between unwind_guess_enter and _leave */
	_Atomic uint32_t closing;  /* dlclose calls under way */
	_Atomic uintptr_t
		closer; /* the thread of the last one that began, by the address of its TLS */
	_Atomic uint64_t ended[UNWIND_ENDS];
} self;

const char *unwind_end_name(enum unwind_end end)
{
	static const char *const names[UNWIND_ENDS] = {
		[UNWIND_ROOT] = "root",		  [UNWIND_TRUNCATED] = "truncated",
		[UNWIND_NO_RULE] = "no_rule",	  [UNWIND_REGISTER] = "register_unknown",
		[UNWIND_BOUNDS] = "out_of_stack", [UNWIND_LOOP] = "loop",
	};

	return (unsigned)end < UNWIND_ENDS ? names[end] : "";
}

uint64_t unwind_ended(enum unwind_end end)
{
	return atomic_load_explicit(&self.ended[end], memory_order_relaxed);
}

uintptr_t unwind_start_context(void)
{
	return self.start_context;
}

/* A thread that is inside the only dlclose may guess: what has no table there is the start-up code
 * of the module, whose destructors run before anything is unmapped. */
static bool only_i_close(void)
{
	return atomic_load(&self.closing) == 1 && atomic_load(&self.closer) == (uintptr_t)&tls;
}

/* Both sides write their own word and then read the other's (seq_cst): one of them sees the other.
 */
bool unwind_guess_enter(void)
{
	atomic_fetch_add(&self.guessing, 1);
	tls.flags |= TLS_GUESSING;
	if (LIKELY(atomic_load(&self.closing) == 0) || only_i_close())
		return true;
	unwind_guess_leave();
	return false;
}

void unwind_guess_leave(void)
{
	tls.flags &= (uint16_t)~TLS_GUESSING;
	atomic_fetch_sub(&self.guessing, 1);
}

bool unwind_closing(void)
{
	return atomic_load_explicit(&self.closing, memory_order_acquire) != 0;
}

void unwind_before_close(void)
{
	atomic_fetch_add(&self.closing, 1);
	atomic_store(&self.closer, (uintptr_t)&tls);
	for (int tries = 0; atomic_load(&self.guessing) != 0; tries++) {
		if (tries == 2000) {
			stat_add(STAT_UNWIND_CLOSE_LATE, 1);
			break;
		}
		sys_sleep_ns(50000);
	}
}

void unwind_after_close(void)
{
	/* First nobody, so that this thread is not taken for a closer when it is none any more. */
	atomic_store(&self.closer, 0);
	atomic_fetch_sub(&self.closing, 1);
}

void unwind_child(void)
{
	atomic_store_explicit(&self.guessing, 0, memory_order_relaxed);
	atomic_store_explicit(&self.closing, 0, memory_order_relaxed);
	for (int i = 0; i < UNWIND_ENDS; i++)
		atomic_store_explicit(&self.ended[i], 0, memory_order_relaxed);
}

/* Records the frame of `pc`. false when it does not fit any more. */
static inline bool keep(struct unwind_walk *walk, uintptr_t pc)
{
	if (UNLIKELY(modules_is_own(pc)) || UNLIKELY(pc < UNWIND_LOWEST_PC))
		return true;
	if (UNLIKELY(walk->n == walk->max)) {
		walk->end = UNWIND_TRUNCATED;
		return false;
	}
	walk->pcs[walk->n++] = pc;
	return true;
}

/* Applies a rule of one of the quick kinds. */
static inline enum unwind_step step_quick(struct unwind_walk *walk, uint64_t rule)
{
	struct unwind_regs *regs = &walk->regs;
	uintptr_t sp = regs->reg[ARCH_SP], bp = regs->reg[ARCH_BP], bx = regs->reg[ARCH_RBX];
	uint32_t known = regs->known;
	uintptr_t cfa, base, pc;
	intptr_t bp_at = rule_bp(rule), bx_at = rule_bx(rule);

	switch (rule_kind(rule)) {
	case RULE_SP:
		cfa = base = sp + (uintptr_t)rule_cfa(rule);
		break;
	case RULE_BP:
		if (UNLIKELY(!(regs->known >> ARCH_BP & 1)))
			goto no_register;
		cfa = base = regs->reg[ARCH_BP] + (uintptr_t)rule_cfa(rule);
		if (walk->log)
			unwind_log_base(walk->log);
		break;
	case RULE_PLT:
		cfa = base = sp + 8 + 8 * ((intptr_t)(regs->reg[ARCH_PC] & 15) >= rule_cfa(rule));
		break;
	default: /* RULE_DEREF_SP, RULE_DEREF_BP */
		if (walk->log)
			walk->log->lost = true;
		base = sp;
		if (rule_kind(rule) == RULE_DEREF_BP) {
			if (UNLIKELY(!(regs->known >> ARCH_BP & 1)))
				goto no_register;
			base = regs->reg[ARCH_BP];
		}
		if (!unwind_stack_read(&walk->stack, base + (uintptr_t)rule_deref_cfa(rule), &cfa))
			goto out_of_stack;
		cfa += (uintptr_t)rule_deref_add(rule);
	}
	if (UNLIKELY(cfa <= sp))
		return unwind_stop(walk, UNWIND_LOOP);
	if (UNLIKELY(!unwind_stack_read(&walk->stack, cfa - 8, &pc)))
		goto out_of_stack;
	if (bp_at != RULE_UNSAVED) {
		if (!unwind_restore(walk, base + (uintptr_t)(bp_at * 8), &bp))
			goto out_of_stack;
		known |= 1u << ARCH_BP;
		if (walk->log)
			unwind_log_saved_base(walk->log, base + (uintptr_t)(bp_at * 8), bp);
	}
	if (bx_at != RULE_UNSAVED) {
		if (!unwind_restore(walk, base + (uintptr_t)(bx_at * 8), &bx))
			goto out_of_stack;
		known |= 1u << ARCH_RBX;
	}
	if (walk->log)
		unwind_log_return(walk->log, cfa - 8, pc);
	regs->reg[ARCH_SP] = cfa;
	regs->reg[ARCH_BP] = bp;
	regs->reg[ARCH_RBX] = bx;
	regs->reg[ARCH_PC] = pc;
	regs->known = known & ~(uint32_t)ARCH_KNOWN_LOST;
	walk->exact = false;
	return STEP_ON;

no_register:
	return unwind_stop(walk, UNWIND_REGISTER);
out_of_stack:
	return unwind_stop(walk, UNWIND_BOUNDS);
}

/* A table whose CFA lies on another stack: code that runs a function on a stack of its own and
 * keeps the old one in the base pointer. Read with care, as a wrong table looks the same. */
static COLD enum unwind_step step_elsewhere(struct unwind_walk *walk, uint64_t rule)
{
	uintptr_t sp = walk->regs.reg[ARCH_SP];
	enum unwind_step step;

	if (walk->stack.shift || rule_kind(rule) != RULE_BP || walk->stack.denied ||
	    walk->end == UNWIND_REGISTER || walk->switches++ >= UNWIND_SWITCHES_MAX)
		return STEP_END;
	unwind_stack_careful(&walk->stack);
	walk->regs.reg[ARCH_SP] = 0;
	step = step_quick(walk, rule);
	if (step == STEP_END)
		walk->regs.reg[ARCH_SP] = sp;
	return step;
}

/* The rows that step_quick does not know, and its failures. */
static NOINLINE enum unwind_step step_other(struct unwind_walk *walk, uintptr_t at, uint64_t rule)
{
	enum unwind_step step;

	if (rule_kind(rule) == RULE_ROOT)
		return unwind_stop(walk, UNWIND_ROOT);
	if (walk->log)
		walk->log->lost = true;
	switch (rule_kind(rule)) {
	case RULE_NONE:
	case RULE_GAP:
	case RULE_GAP_CALL:
		return unwind_step_guess(walk);
	case RULE_SLOW:
		step = unwind_step_full(walk, at);
		break;
	default:
		step = walk->full ? unwind_step_full(walk, at) : step_elsewhere(walk, rule);
	}
	if (step == STEP_END && walk->end == UNWIND_REGISTER)
		return unwind_step_search(walk, at);
	return step;
}

static inline bool is_quick(const struct unwind_walk *walk, uint64_t rule)
{
	return rule_kind(rule) - RULE_SP <= RULE_PLT - RULE_SP && !walk->full;
}

/* From the frame at hand to the end. */
static enum unwind_step walk_on(struct unwind_walk *walk)
{
	struct unwind_regs *regs = &walk->regs;

	for (;;) {
		uintptr_t pc = regs->reg[ARCH_PC], at = walk->exact ? pc : pc - 1;
		enum unwind_step step;
		uint64_t rule;

		if (UNLIKELY(pc - UNWIND_LOWEST_PC >= UNWIND_PCS && !walk->exact)) {
			/* No address of code. By custom the outermost frame returns to 0. */
			return unwind_stop(walk, pc == 0 ? UNWIND_ROOT : UNWIND_NO_RULE);
		}
		rule = LIKELY(at < walk->cached) ? rule_get(at, walk->generation) : RULE_NONE;
		if (UNLIKELY(rule == RULE_NONE))
			rule = unwind_rule_of(walk, at);
		if (UNLIKELY(rule_kind(rule) == RULE_SIGNAL)) {
			/* The trampoline did not call anybody: its PC is exact. */
			if (!keep(walk, pc))
				return STEP_END;
			if (walk->log)
				walk->log->lost = true;
			step = unwind_step_signal(walk);
		} else {
			if (!keep(walk, at))
				return STEP_END;
			if (LIKELY(is_quick(walk, rule))) {
				step = step_quick(walk, rule);
				if (UNLIKELY(step == STEP_END))
					step = step_other(walk, at, rule);
			} else {
				step = step_other(walk, at, rule);
			}
		}
		if (UNLIKELY(step != STEP_ON))
			return step;
	}
}

static void begin(struct unwind_walk *walk, bool live)
{
	uintptr_t sp = walk->from->reg[ARCH_SP];

	walk->regs = *walk->from;
	walk->n = 0;
	walk->end = UNWIND_BOUNDS;
	walk->switches = 0;
	walk->exact = true;
	walk->generation = modules_generation();
	if (walk->log)
		unwind_log_begin(walk->log, sp);
	/* Between an unload and the new generation, cached rules of the old module would be applied
	 * to one that another thread has loaded in its place. */
	walk->cached = unwind_closing() ? 0 : (uintptr_t)1 << 48;
	if (!live)
		return;
	if (sp >= walk->thread_lo && sp < walk->thread_hi)
		unwind_on_own_stack(walk, sp);
	else
		unwind_stack_probe(&walk->stack, sp);
}

void unwind_walk(struct unwind_walk *walk, bool live)
{
	walk->full = walk->force_full;
	walk->guessed = false;
	begin(walk, live);
	if (walk_on(walk) == STEP_AGAIN) {
		walk->full = true;
		begin(walk, live);
		walk_on(walk);
	}
	if (walk->guessed)
		unwind_guess_leave();
	if (UNLIKELY(live && walk->stack.denied && walk->end == UNWIND_BOUNDS))
		stat_add(STAT_UNWIND_DENIED, 1);
	atomic_fetch_add_explicit(&self.ended[walk->end], 1, memory_order_relaxed);
}

NOINLINE uint32_t unwind_from(const struct unwind_regs *from, uintptr_t lo, uintptr_t hi, uintptr_t *pcs,
			      uint32_t max, enum unwind_end *out_end)
{
	struct unwind_walk walk;

	walk.from = from;
	walk.thread_lo = lo;
	walk.thread_hi = hi;
	walk.pcs = pcs;
	walk.max = max;
	walk.force_full = false;
	walk.log = NULL;
	walk.reach = 0;
	unwind_walk(&walk, true);
	*out_end = walk.end;
	return walk.n;
}

uint32_t unwind_context(const ucontext_t *context, uintptr_t lo, uintptr_t hi, uintptr_t *pcs,
			uint32_t max, enum unwind_end *out_end)
{
	struct unwind_regs from;

	arch_from_context(context, from.reg);
	from.known = ARCH_KNOWN_ALL;
	return unwind_from(&from, lo, hi, pcs, max, out_end);
}

NOINLINE uint32_t unwind_here(uintptr_t lo, uintptr_t hi, uintptr_t *pcs, uint32_t max,
			      enum unwind_end *out_end)
{
	struct unwind_regs from;
	uint32_t n;

	arch_capture(from.reg);
	from.known = ARCH_KNOWN_CAPTURED;
	n = unwind_from(&from, lo, hi, pcs, max, out_end);
	/* Not a tail call: the frame that was captured must stay. */
	__asm__ volatile("" : "+r"(n));
	return n;
}

static void never_run(void)
{
}

/* The address that makecontext has functions return to has no name that we could link to. */
static COLD uintptr_t find_start_context(void)
{
	static uintptr_t stack[512] BIG;
	static ucontext_t context BIG;

	if (!getcontext || !makecontext || getcontext(&context) != 0)
		return 0;
	context.uc_stack.ss_sp = stack;
	context.uc_stack.ss_size = sizeof(stack);
	context.uc_link = NULL;
	makecontext(&context, never_run, 0);
	return *(const uintptr_t *)context.uc_mcontext.gregs[REG_RSP];
}

int unwind_start(void)
{
	uintptr_t pcs[16];
	enum unwind_end end;

	self.start_context = find_start_context();
	unwind_here(0, 0, pcs, ARRAY_LEN(pcs), &end);
	atomic_store_explicit(&self.ended[end], 0, memory_order_relaxed);
	return 0;
}
