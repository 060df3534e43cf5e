/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Program counters of a stack, from unwind tables, without a lock, an allocation, a system call (on
 * stacks whose bounds are known) or an access outside the stack.
 *
 * PCs come out as collect/frames.h wants them: exact for interrupted frames, return address - 1
 * otherwise; frames inside this library are left out.
 */
#ifndef COLLECT_UNWIND_H
#define COLLECT_UNWIND_H

#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

/* Why a walk ended. Context: any. */
enum unwind_end {
	UNWIND_ROOT,	  /* a known root: undefined return address, or __start_context */
	UNWIND_TRUNCATED, /* `max` frames were found and there are more */
	UNWIND_NO_RULE,	  /* code without usable rule, and no fall-back applied */
	UNWIND_REGISTER,  /* the rule needs a register whose value is not known */
	UNWIND_BOUNDS,	  /* the next frame would lie outside the readable stack */
	UNWIND_LOOP,	  /* the stack pointer did not move up */
	UNWIND_ENDS
};
const char *unwind_end_name(enum unwind_end end);

/* Picks the fastest way that this system offers and warms up. Context: init. 0 or -errno. */
int unwind_start(void);

/* The stack of an interrupted context, leaf first, at most max PCs.
 * lo, hi: bounds of the interrupted thread's stack as far as known (0, 0: not known). A stack
 * pointer outside of them (coroutine, alternate stack) costs one process_vm_readv to learn its
 * extent. Context: signal, agent (for another thread's context this needs unwind_remote.h). */
uint32_t unwind_context(const ucontext_t *context, uintptr_t lo, uintptr_t hi, uintptr_t *pcs,
			uint32_t max, enum unwind_end *out_end);

/* The stack of the caller of the hook that calls this: the frames of the agent are left out.
 * Context: hook. */
uint32_t unwind_here(uintptr_t lo, uintptr_t hi, uintptr_t *pcs, uint32_t max,
		     enum unwind_end *out_end);

/* The same of a frame of the agent that the caller captured (arch_capture) and that has not returned since: the
 * fewer frames of the agent lie between, the less there is to walk. Context: hook. */
struct unwind_regs;
uint32_t unwind_from(const struct unwind_regs *from, uintptr_t lo, uintptr_t hi, uintptr_t *pcs, uint32_t max,
		     enum unwind_end *out_end);

/* Around the real dlclose, in the thread that calls it: waits (at most 100 ms) for walks that may
 * be reading a module by guess, and keeps others from guessing meanwhile. Context: hook. */
void unwind_before_close(void);
void unwind_after_close(void);

/* Forgets the walks of the threads that exist no more. Context: child. */
void unwind_child(void);

/* Walks by reason of ending since start, for /debug/pprof/agent. Context: any. */
uint64_t unwind_ended(enum unwind_end end);

#endif
