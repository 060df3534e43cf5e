/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recorder of execution traces. While one runs, threads append records of 64 bytes to chunks of their
 * own, without a lock, also from a signal handler; when the chunks allowed are used up, recording ends for
 * all threads at one moment. While none runs, each place that could record costs one branch on
 * tracebuf_session, and all of those places are slow anyway: a wait, the begin or end of a thread, a
 * CPU sample.
 *
 * What traced waiters wait for is marked in the filter of collect/locks.h, so that those who let it go
 * come here, and the waiter can be told who woke it.
 */
#ifndef COLLECT_TRACEBUF_H
#define COLLECT_TRACEBUF_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/attr.h"
#include "agent/collect/traceevent.h"

struct stack;
struct thread;
struct trace_chunk;

/* A wait that is under way. */
struct trace_wait {
	uint64_t since_ns;
	const void *object;	   /* what tracebuf_wakes will be called with, NULL: nothing */
	const void *function;	   /* that the program called */
	const struct stack *stack; /* of the caller, NULL: not taken yet */
	enum trace_reason reason;
};

/* How a thread came to be: noted by its creator before it runs. */
struct trace_birth {
	uint64_t ns;		   /* 0: no trace was running */
	uint32_t creator;	   /* tag */
	const struct stack *stack; /* of the creator */
};

/* A thread's own part; lies in its record. Only the thread writes here, but for `busy`, which the agent
 * reads. */
struct thread_trace {
	_Atomic(struct trace_chunk *) chunk; /* of `session` */
	_Atomic uint32_t session;
	_Atomic uint32_t busy;		    /* appends under way */
	_Atomic uint64_t waits_since;	    /* a wait is under way, 0: none */
	_Atomic(const struct stack *) stack; /* of it, NULL: not known */
	_Atomic(const void *) function;	    /* that it called */
	_Atomic uint8_t reason;		    /* enum trace_reason */
	uint32_t held;			    /* slot + 1 of the object that it waits for, 0: none */
	struct trace_birth birth;
};

/* Number of the running trace, 0: none. */
extern _Atomic uint32_t tracebuf_session HIDDEN;

/* Context: signal, hook, agent. */
static inline bool tracebuf_on(void)
{
	return UNLIKELY(atomic_load_explicit(&tracebuf_session, memory_order_relaxed) != 0);
}

/* --- what happens; the guard is up, but for samples. Context: hook --- */

/* A thread is about to be created by the caller, whose stack is `by`. */
void tracebuf_creating(struct trace_birth *out, const struct stack *by);
void tracebuf_thread_begin(struct thread *thread);
void tracebuf_thread_end(struct thread *thread);

/* Notes a wait as under way, also while no trace runs. */
void tracebuf_wait_begins(struct thread *thread, const struct trace_wait *wait);
/* It is over, and is recorded if it was one. woken: by whoever called tracebuf_wakes last. */
void tracebuf_wait_ends(struct thread *thread, const struct trace_wait *wait, uint64_t now_ns,
			bool happened, bool woken);

/* The caller is about to let go what a traced thread may wait for, through `function`. (Joins wait for
 * the pthread_t, which tracebuf_thread_end lets go.) */
void tracebuf_wakes(const void *object, const void *function);

/* A CPU sample of the calling thread. Context: signal. */
void tracebuf_sample(struct thread *thread, const struct stack *stack);

/* --- the agent's side. Context: agent --- */

/* Begins a trace of at most max_bytes of records. 0; -EBUSY: one runs; -ENOMEM. */
int tracebuf_begin(size_t max_bytes);
/* The chunks were used up: when, else 0. */
uint64_t tracebuf_full_ns(void);
void tracebuf_heap(uint64_t now_ns, uint64_t bytes);
/* Nothing more is recorded, and what was is complete. */
void tracebuf_stop(void);
/* Calls for every record until `each` returns false; then returns false. After tracebuf_stop. */
bool tracebuf_each(bool (*each)(void *arg, const struct trace_record *record), void *arg);
/* Gives the memory back; another trace may begin. */
void tracebuf_free(void);

/* The wait that a thread is in, as a record that never ends. false: it is in none that we know. */
bool tracebuf_waits(struct thread *thread, struct trace_record *out);

/* Context: child. */
void tracebuf_child(void);

#endif
