/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one signal that samples. SIGPROF while nobody else wants it, else a free real-time signal.
 *
 * Its handler, once installed, stays: a late sample must find a handler (hazard E2). While we hold
 * the signal, the program's own wish for it is kept here, reported back to it, and served for
 * deliveries that are not ours; it is installed for real when the last session is over and no thread
 * has the signal pending.
 */
#ifndef COLLECT_SIGNALS_H
#define COLLECT_SIGNALS_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/attr.h"

/* The real sigaction: given by the agent at start, because hooks/ lies above. Context: init. */
void signals_start(int (*real_sigaction)(int, const struct sigaction *, struct sigaction *));

/* Takes a signal for sampling. Its number, or -errno when none is free. Idempotent.
 * Context: agent. */
int signals_take(void);

/* Sampling is over; gives the signal back when it can. True when nothing is left to do, false: call
 * again later. `pending` says whether any thread still has it pending. Context: agent. */
bool signals_release(bool (*pending)(int sig));

/* The signal that we hold, 0 if none. Context: any. */
extern _Atomic int signals_held HIDDEN;
static inline bool signals_holds(int sig)
{
	return sig == atomic_load_explicit(&signals_held, memory_order_relaxed) && sig != 0;
}

/* sigaction(2) on a held signal, as the program sees it. Context: hook. */
int signals_wish(int sig, const struct sigaction *act, struct sigaction *old);

/* What our timers carry in si_value, so that only our own expirations are taken as samples.
 * Context: signal, agent. */
static inline uint64_t signals_cookie(uint32_t index)
{
	return ((uint64_t)0x70707266 << 32) | index;
}

/* Whether a delivery is one of ours. Context: any. */
static inline bool signals_is_sample(const siginfo_t *info)
{
	return info->si_code == SI_TIMER &&
	       (uintptr_t)info->si_value.sival_ptr >> 32 == signals_cookie(0) >> 32;
}

/* In the index: a timer of collect/shot.c, not one of a CPU profile. */
enum { SIGNALS_SHOT = 1 << 30 };

/* Context: child. */
void signals_child(void);

/* Called in the handler for each of our expirations. Set by collect/cpu.c. Context: init. */
void signals_on_sample(void (*sample)(uint32_t index, int overrun, void *context));

#endif
