/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who waits, and for whom: the block and the mutex profile.
 *
 * block (SERIES_BLOCK): the waiter's stack; its leaf is the function that it called. With the rate r a
 * wait of d >= r ns is always recorded, a shorter one with probability d/r, as r/d waits of r ns in
 * all: Go's rule, unbiased in both columns. The dice are thrown, and for a lock the stack is taken, before
 * the wait: whoever has waited has the lock, and others wait for him.
 *
 * mutex (SERIES_MUTEX): the unlocker's stack. One wait in n is sampled (PPROF_MUTEXPROFILEFRACTION) and
 * counts n-fold; its time is charged to those who unlocked meanwhile (collect/locks.h), and its count
 * to the last of them, who let it in: 5 waiters for a lock that is held for 1 s are 5 s at the
 * unlock, as in Go 1.22 and later.
 *
 * A process that was forked starts counting at 0.
 */
#ifndef COLLECT_CONTENTION_H
#define COLLECT_CONTENTION_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/attr.h"
#include "agent/collect/locks.h"
#include "agent/collect/tracebuf.h"

struct stack;
struct thread;

/* Contentions are kept with this many fractional bits: each stands for up to r of them. */
enum { CONTENTION_COUNT_BITS = 16 };

/* A wait that is under way; lies on the waiter's stack. */
struct contention_wait {
	struct trace_wait trace;
	uint64_t kept_from_ns; /* a wait of more than this goes into the block profile */
	bool blames;	       /* the thread's lock_wait is this wait's */
};

enum contention_end {
	WAIT_GOT,     /* what was waited for came */
	WAIT_GAVE_UP, /* time ran out, or a signal came */
	WAIT_NONE,    /* there was no wait: misuse, or what was wanted was there already */
};

/* block_rate in ns, mutex_fraction: 0 switches each off. labels: count per thread. Until this is called
 * nothing is recorded. Context: init. */
void contention_start(uint64_t block_rate, uint64_t mutex_fraction, bool labels);

/* Before a call that may wait. lock: what its unlocker is to be blamed for, NULL for waits that are
 * nobody's fault. object: for traces, what contention_wakes is called with (for a lock: itself), or NULL.
 * function: what the program called. false: nothing is to be recorded, and contention_after must not be
 * called. Context: hook. */
bool contention_before(struct contention_wait *wait, const void *lock, const void *object,
		       const void *function);

/* After it; errno is not touched. Context: hook. */
void contention_after(struct contention_wait *wait, const void *function, enum contention_end end);

/* The same for what only traces show: a sleep, a wait for a descriptor, a system call. Those of less than
 * 10 us are left out. To be called if tracebuf_on(). fd: with TRACE_IO, what decides. Context: hook. */
bool contention_trace_before(struct contention_wait *wait, enum trace_reason reason, const void *function);
void contention_trace_after(struct contention_wait *wait, int fd);

/* Before a call that lets waiters go on who wait for no lock, if tracebuf_on() and locks_waited(object).
 * Context: hook. */
void contention_wakes(const void *object, const void *function);

/* An unlock under way; lies on the unlocker's stack. */
struct contention_unlock {
	const void *lock, *function;
	bool charged;
	struct locks_unlock at;
};

/* Before a real unlock through `function`, if locks_waited(lock), and after it. Context: hook. */
void contention_unlock_begins(struct contention_unlock *unlock, const void *lock,
			      const void *function);
void contention_unlock_ends(const struct contention_unlock *unlock);

/* Both at once, for a function that unlocks and does not return for long. Context: hook. */
void contention_unlock(const void *lock, const void *function);

struct stack;
/* A thread was created, by a call with this stack. Context: hook. */
void contention_created(const struct stack *by);

/* The calling thread ends. Context: hook. */
void contention_thread_end(struct thread *thread);

/* As set at start. Context: any. */
uint64_t contention_block_rate(void);
uint64_t contention_mutex_fraction(void);

/* Context: child. */
void contention_child(void);

#endif
