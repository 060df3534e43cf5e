/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other waits: for the end of a thread, at a barrier, for a spin lock.
 *
 * Context: hook.
 */
#include "hooks/timed.h"

/* not of POSIX */
extern __typeof__(pthread_tryjoin_np) pthread_tryjoin_np __attribute__((weak));

/* A thread that has ended is joined without a wait: the try checks first whether it runs ("busy"), then
 * does what a join does. */
EXPORT int pthread_join(pthread_t thread, void **out)
{
	int err;

	if (LIKELY(pthread_tryjoin_np))
		TRY_FIRST(EBUSY, pthread_tryjoin_np, thread, out);
	TIMED_ON(err, thread, timed_end_errno, pthread_join, thread, out);
	return err;
}

EXPORT int pthread_timedjoin_np(pthread_t thread, void **out, const struct timespec *until)
{
	int err;

	TIMED_ON(err, thread, timed_end_errno, pthread_timedjoin_np, thread, out, until);
	return err;
}

EXPORT int pthread_clockjoin_np(pthread_t thread, void **out, clockid_t clock,
				const struct timespec *until)
{
	int err;

	TIMED_ON(err, thread, timed_end_errno, pthread_clockjoin_np, thread, out, clock, until);
	return err;
}

/* Who comes last lets the others go and waits for nobody. (musl gives this result to the first.) */
static inline enum contention_end end_of_barrier(int result)
{
	return result == 0 ? WAIT_GOT : WAIT_NONE;
}

EXPORT int pthread_barrier_wait(pthread_barrier_t *barrier)
{
	int result;

	timed_wakes(barrier, (const void *)real.pthread_barrier_wait);
	TIMED_ON(result, barrier, end_of_barrier, pthread_barrier_wait, barrier);
	return result;
}

static NOINLINE int spin_taken(pthread_spinlock_t *lock)
{
	int err;

	TIMED(err, (const void *)lock, timed_end_errno, pthread_spin_lock, lock);
	return err;
}

EXPORT int pthread_spin_lock(pthread_spinlock_t *lock)
{
	TRY_FIRST(EBUSY, pthread_spin_trylock, lock);
	return spin_taken(lock);
}

static bool lets_in(const pthread_spinlock_t *lock)
{
	return true;
}

UNLOCK_AND_CHARGE(pthread_spin_unlock, pthread_spinlock_t, lets_in)

EXPORT int pthread_spin_unlock(pthread_spinlock_t *lock)
{
	if (UNLIKELY(locks_waited((const void *)lock)))
		return pthread_spin_unlock_charged(lock);
	return real.pthread_spin_unlock(lock);
}
