/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock for sections of a few instructions. The holder has the guard of its thread up
 * (base/tls.h), so that our own signal handler never waits for it; a handler only tries.
 * All of them are leaf locks: inside, no libc, no other lock (hazard B2).
 */
#ifndef BASE_SPIN_H
#define BASE_SPIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "agent/base/sys.h"
#include "syscall.h"

struct spin {
	_Atomic int held;
};

/* Context: signal, hook, agent, init, child. */
static inline bool spin_try(struct spin *lock)
{
	return !atomic_exchange_explicit(&lock->held, 1, memory_order_acquire);
}

/* Context: hook, agent, init. After a short spin the thread sleeps, so that a holder that lost
 * its processor (two cores, real-time priorities) can finish. */
static inline void spin_lock(struct spin *lock)
{
	unsigned tries = 0;

	while (!spin_try(lock)) {
		if (++tries < 64)
			arch_relax();
		else
			sys_sleep_ns(50000);
	}
}

static inline void spin_unlock(struct spin *lock)
{
	atomic_store_explicit(&lock->held, 0, memory_order_release);
}

/* Context: child. Its holder does not exist in this process. */
static inline void spin_reset(struct spin *lock)
{
	atomic_store_explicit(&lock->held, 0, memory_order_relaxed);
}

#endif
