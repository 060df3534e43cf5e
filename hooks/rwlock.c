/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Read-write locks. Whoever unlocks is charged with the time of those who wait, readers and writers
 * alike.
 *
 * Context: hook.
 */
#include "hooks/rwlock.h"

#include "hooks/layout.h"
#include "hooks/timed.h"

TRY_AND_WAIT(pthread_rwlock_rdlock, pthread_rwlock_t, EBUSY, pthread_rwlock_tryrdlock, timed_end_errno)

EXPORT int pthread_rwlock_rdlock(pthread_rwlock_t *lock)
{
	if (LIKELY(!((rwlock_word(lock) & RWLOCK_WRITE_LOCKED) | locks_busy(lock))))
		return real.pthread_rwlock_rdlock(lock);
	return pthread_rwlock_rdlock_tries(lock);
}

TRY_AND_WAIT(pthread_rwlock_wrlock, pthread_rwlock_t, EBUSY, pthread_rwlock_trywrlock, timed_end_errno)

EXPORT int pthread_rwlock_wrlock(pthread_rwlock_t *lock)
{
	if (LIKELY(!((rwlock_word(lock) & ~(unsigned)RWLOCK_WRITE_PHASE) | locks_busy(lock))))
		return real.pthread_rwlock_wrlock(lock);
	return pthread_rwlock_wrlock_tries(lock);
}

EXPORT int pthread_rwlock_timedrdlock(pthread_rwlock_t *lock, const struct timespec *until)
{
	int err;

	if (UNLIKELY(!timed_is_valid(CLOCK_REALTIME, until)))
		return real.pthread_rwlock_timedrdlock(lock, until);
	TRY_LOCK_FIRST(EBUSY, pthread_rwlock_tryrdlock, lock);
	TIMED(err, lock, timed_end_errno, pthread_rwlock_timedrdlock, lock, until);
	return err;
}

EXPORT int pthread_rwlock_clockrdlock(pthread_rwlock_t *lock, clockid_t clock,
				      const struct timespec *until)
{
	int err;

	if (UNLIKELY(!timed_is_valid(clock, until)))
		return real.pthread_rwlock_clockrdlock(lock, clock, until);
	TRY_LOCK_FIRST(EBUSY, pthread_rwlock_tryrdlock, lock);
	TIMED(err, lock, timed_end_errno, pthread_rwlock_clockrdlock, lock, clock, until);
	return err;
}

EXPORT int pthread_rwlock_timedwrlock(pthread_rwlock_t *lock, const struct timespec *until)
{
	int err;

	if (UNLIKELY(!timed_is_valid(CLOCK_REALTIME, until)))
		return real.pthread_rwlock_timedwrlock(lock, until);
	TRY_LOCK_FIRST(EBUSY, pthread_rwlock_trywrlock, lock);
	TIMED(err, lock, timed_end_errno, pthread_rwlock_timedwrlock, lock, until);
	return err;
}

EXPORT int pthread_rwlock_clockwrlock(pthread_rwlock_t *lock, clockid_t clock,
				      const struct timespec *until)
{
	int err;

	if (UNLIKELY(!timed_is_valid(clock, until)))
		return real.pthread_rwlock_clockwrlock(lock, clock, until);
	TRY_LOCK_FIRST(EBUSY, pthread_rwlock_trywrlock, lock);
	TIMED(err, lock, timed_end_errno, pthread_rwlock_clockwrlock, lock, clock, until);
	return err;
}

/* The caller is the last reader before a writer, or a writer for whom others wait: this unlock lets
 * somebody in. See somebody_sleeps in mutex.c. */
static bool lets_in(const pthread_rwlock_t *lock)
{
	unsigned word = rwlock_word(lock), readers = word >> RWLOCK_READER_SHIFT;

	if (layout_strange.rwlock)
		return true;
	if (!(word & RWLOCK_WRITE_PHASE))
		return readers == 1 && (word & RWLOCK_WRITE_LOCKED);
	return readers || __atomic_load_n(&lock->__data.__writers, __ATOMIC_RELAXED) ||
	       (__atomic_load_n(&lock->__data.__writers_futex, __ATOMIC_RELAXED) &
		RWLOCK_WRITER_SLEEPS);
}

UNLOCK_AND_CHARGE(pthread_rwlock_unlock, pthread_rwlock_t, lets_in)

EXPORT int pthread_rwlock_unlock(pthread_rwlock_t *lock)
{
	if (UNLIKELY(locks_waited(lock)))
		return pthread_rwlock_unlock_charged(lock);
	return real.pthread_rwlock_unlock(lock);
}
