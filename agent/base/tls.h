/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that we keep in a thread's static TLS: 64 bytes, because more makes programs with an
 * audit library fail to start and eats small stacks (hazards A11, M13). The rest of a thread's
 * state is its record (collect/threads.h), reached through `thread`.
 *
 * The guard: depth > 0 means that this thread runs agent code. Hooks then only forward, and the
 * signal handler only counts. Each hook lowers it before it calls the real function, so that a
 * longjmp or a cancellation out of that call leaves it at 0 (hazard B3).
 */
#ifndef BASE_TLS_H
#define BASE_TLS_H

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
	volatile uint16_t depth; /* the guard; volatile: see hazard A4 */
	uint16_t flags;		/* enum tls_flag */
	uint32_t heap_epoch;	/* rate at which heap_left was drawn: epoch + 1, 0 before the first */
	uint32_t spare;		/* keeps the struct at 64 bytes */
};
_Static_assert(sizeof(struct thread_tls) <= 64, "static TLS is a shared, scarce resource");

enum tls_flag {
	TLS_EXITING = 1, /* our TSD destructor ran: `thread` is NULL and stays so (hazard C4) */
	TLS_AGENT = 2,	 /* one of our own threads */
	TLS_FORKING = 4, /* fork handlers blocked the sampling signal here */
};

extern TLS struct thread_tls tls HIDDEN;

/* Raises the guard; false when it was up already: then forward only. Pair each true with
 * guard_leave().
 * Context: signal, hook, agent, init, child. */
static inline bool guard_enter(void)
{
	if (tls.depth)
		return false;
	tls.depth = 1;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return true;
}

static inline void guard_leave(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	tls.depth = 0;
}

/* For the agent's own threads: all their hooks forward, for ever. Context: agent. */
static inline void guard_forever(void)
{
	tls.depth = 1;
	tls.flags |= TLS_AGENT;
}

#endif
