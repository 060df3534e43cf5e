/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timer of one thread's CPU clock, and the account of its periods in a session: how many are
 * due by the clock, how many the kernel has delivered, how many are booked. A period is booked
 * once, by whoever moves the account over it.
 */
#ifndef COLLECT_CPU_TIMER_H
#define COLLECT_CPU_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct thread;

struct cpu_rhythm {
	uint32_t session; /* its number; the account of a thread without a timer is 0 */
	int sig;
	uint64_t period_ns;
};

/* Makes the thread's timer unless it has one. born: its whole CPU time counts, else what it uses
 * from now on. False: the kernel refuses, for the first time (then t->refused). Context: agent,
 * hook. */
bool cpu_timer_arm(struct thread *t, const struct cpu_rhythm *rhythm, bool born);
bool cpu_timer_runs(const struct thread *t, uint32_t session);

/* The kernel delivered n periods: how many of them are to be booked now. Context: signal, of that
 * thread. */
uint32_t cpu_timer_delivered(struct thread *t, uint32_t session, uint32_t n);

/* Periods that are due at this CPU time of the thread and were not booked: the caller books them.
 * The timer goes on; or is taken away. Context: agent; hook (the thread's own end). */
uint32_t cpu_timer_catch_up(struct thread *t, uint32_t session, uint64_t cpu_ns,
			    uint64_t period_ns);
uint32_t cpu_timer_settle(struct thread *t, uint32_t session, uint64_t cpu_ns, uint64_t period_ns);

#endif
