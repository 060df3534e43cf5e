/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that we keep in a thread's static TLS: 64 bytes, because more makes programs with an
 * audit library fail to start and eats small stacks (hazards A11, M13). The rest of a thread's
 * state is its record (collect/threads.h), reached through `thread`.
 *
 * The guard: while it is up this thread runs agent code. Hooks then only forward, and the signal
 * handler only counts. Each hook lowers it before it calls the real function, so that a longjmp or a
 * cancellation out of that call leaves it down. A handler of the program that interrupts us and leaves by
 * siglongjmp leaves it up: it is found out by whoever comes to a place of the same stack at which the frame
 * that raised it cannot be there any more (hazard B3).
 */
#ifndef BASE_TLS_H
#define BASE_TLS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/attr.h"

struct thread;

struct thread_tls {
	uint64_t heap_left;	/* bytes up to and with the next sampled one; collect/heap.h */
	struct thread *thread;	/* our record, NULL until registered; collect/threads.c owns it */
	uintptr_t stack_lo;	/* lowest and one past the highest address of this thread's stack, */
	uintptr_t stack_hi;	/*   0 when not known: collect/threads.c sets both */
	uint64_t random;	/* state of base/random.h, 0 until seeded */
	uint32_t tid;		/* kernel id, 0 until known; wrong in a raw clone that shares TLS */
	volatile uint32_t guard; /* GUARD_DOWN, or up, and where it was raised; volatile: see hazard A4 */
	uint32_t heap_epoch;	/* rate at which heap_left was drawn: epoch + 1, 0 before the first */
	uint16_t flags;		/* enum tls_flag */
};
_Static_assert(sizeof(struct thread_tls) <= 64, "static TLS is a shared, scarce resource");

enum tls_flag {
	TLS_EXITING = 1, /* our TSD destructor ran: `thread` is NULL and stays so (hazard C4) */
	TLS_AGENT = 2,	 /* one of our own threads */
	TLS_FORKING = 4, /* fork handlers blocked the sampling signal here */
	TLS_GUESSING = 8, /* between unwind_guess_enter and _leave: collect/unwind.c */
	TLS_LEFT = 16,	 /* the guard was left up: what was held then is still held (collect/record.c) */
};

/* Other values: how deep on the thread's own stack the frame lies that raised it, see guard_place(). */
enum { GUARD_DOWN, GUARD_UP, GUARD_LEAST, GUARD_IN_SIGNAL = -1 };

extern TLS struct thread_tls tls HIDDEN;

/* In steps of 8 bytes; GUARD_UP: not on the thread's own stack, or its bounds are not known.
 * Context: signal, hook, agent, init, child. */
static inline uint32_t guard_place(uintptr_t at)
{
	uintptr_t below = tls.stack_hi - at;

	return below - 1 < tls.stack_hi - tls.stack_lo ? (uint32_t)(below >> 3) + GUARD_LEAST : GUARD_UP;
}

/* The guard is up: was it left so, as a frame at `at` can tell? Then it is lowered. Context: hook. */
bool guard_was_left(uintptr_t at) HIDDEN;

/* guard_enter() of the sampling signal's handler: `sp` and `alternate` are those of what it interrupted.
 * Context: signal. */
bool guard_enter_in_signal(uintptr_t sp, const stack_t *alternate) HIDDEN;

/* Is a hook inside the agent's own code? Context: hook. */
static inline __attribute__((always_inline)) bool guard_is_up(void)
{
	return tls.guard && !guard_was_left((uintptr_t)__builtin_frame_address(0));
}

/* Raises the guard; false when it was up already: then forward only. Pair each true with
 * guard_leave(), and never call it twice in one function: the frame is how a guard that was left up is known.
 * Context: signal, hook, agent, init, child. */
static inline __attribute__((always_inline)) bool guard_enter(void)
{
	if (guard_is_up())
		return false;
	tls.guard = guard_place((uintptr_t)__builtin_frame_address(0));
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return true;
}

/* At the beginning of a thread, by whichever of several functions. Context: hook. */
static inline void guard_raise(void)
{
	tls.guard = GUARD_UP;
}

static inline void guard_leave(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	tls.guard = GUARD_DOWN;
}

/* For the agent's own threads: all their hooks forward, for ever. Context: agent. */
static inline void guard_forever(void)
{
	tls.guard = GUARD_UP;
	tls.flags |= TLS_AGENT;
}

#endif
