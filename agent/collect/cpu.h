/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU time by stack. While at least one profile runs, every thread has a timer on its own CPU clock;
 * each expiry is one period in the bucket of the stack that it hit.
 *
 * The number of periods of a thread is exact by construction: first expiry uniformly random in
 * (0, period], then one per period of its CPU clock. The kernel delivers expirations late (on its
 * tick) and several at once; si_overrun says how many. What was not delivered when the thread or the
 * session ends, or when another profile joins it or leaves it, is computed from the clock and booked to the thread's last
 * stack (or, if it never had one, to its start routine under [after last tick]).
 */
#ifndef COLLECT_CPU_H
#define COLLECT_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/collect/threads.h"

/* Joins the running session of this rate, or begins one. 0; -EBUSY: a session of another rate runs;
 * -EADDRINUSE: no signal is free. Context: agent. */
int cpu_acquire(unsigned hz);

/* The same in a process that has one thread, the caller: of /proc nothing is read. Context: child. */
int cpu_acquire_alone(unsigned hz);

/* While at least one profile wants it, samples carry the tag of their thread. Context: agent. */
void cpu_label(bool on);

/* Leaves the session; the last one ends it: all timers gone, all periods booked. Context: agent. */
void cpu_release(void);

/* The sampling signal for one-shot timers (collect/shot.c): its number, or -errno when none is free. Each
 * success is paired with cpu_signal_leave. Context: agent. */
int cpu_signal_enter(void);
void cpu_signal_leave(void);

/* Period of the running session in ns, 0 if none. Context: any. */
uint64_t cpu_period_ns(void);

/* To be called about once a second while anything is to be done; finds new threads that no hook saw,
 * threads that (un)blocked the signal, and gives the signal back. True while it wants to be called
 * again. Context: agent. */
bool cpu_tend(void);

/* True when cpu_tend wants to be called. Context: agent. */
bool cpu_needs_tending(void);

/* CPU time that threads used in this session without being sampled, because they block the signal or
 * (refused) because the kernel gave them no timer; and how many threads used at least a period.
 * Context: agent. */
uint64_t cpu_unseen_ns(bool refused, uint32_t *out_threads);

/* Threads now without a timer: blocked signal, refused timers. Context: agent. */
uint32_t cpu_threads_blocked(void);
uint32_t cpu_threads_refused(void);

/* Thread life (collect/threads.h). Context: hook. */
void cpu_thread_begin(struct thread *thread);
void cpu_thread_end(struct thread *thread);

/* Context: init; child. */
void cpu_start(void);
void cpu_child(void);

#endif
