/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Read-write locks. A lock that looks taken is tried first, because readers may still be let in:
 * only "busy" is timed. Whoever unlocks is charged with the time of those who wait, readers and
 * writers alike.
 *
 * Context: hook.
 */
#include "hooks/rwlock.h"

#include "hooks/layout.h"
#include "hooks/timed.h"

static inline bool may_read(const pthread_rwlock_t *lock)
{
	return !((rwlock_word(lock) & RWLOCK_WRITE_LOCKED) | (unsigned)layout_strange.rwlock);
}

static inline bool may_write(const pthread_rwlock_t *lock)
{
	return !((rwlock_word(lock) & ~(unsigned)RWLOCK_WRITE_PHASE) | (unsigned)layout_strange.rwlock);
}

/* returns from the caller what the lock answers, unless it is busy */
#define TRY_FIRST(try, lock)            \
	do {                            \
		int tried_ = try(lock); \
                                        \
		if (tried_ != EBUSY)    \
			return tried_;  \
	} while (0)

static NOINLINE int rdlock_taken(pthread_rwlock_t *lock)
{
	int err;

	TRY_FIRST(pthread_rwlock_tryrdlock, lock);
	TIMED(err, lock, timed_end_errno, pthread_rwlock_rdlock, lock);
	return err;
}

EXPORT int pthread_rwlock_rdlock(pthread_rwlock_t *lock)
{
	if (UNLIKELY(!may_read(lock)))
		return rdlock_taken(lock);
	return real.pthread_rwlock_rdlock(lock);
}

static NOINLINE int wrlock_taken(pthread_rwlock_t *lock)
{
	int err;

	TRY_FIRST(pthread_rwlock_trywrlock, lock);
	TIMED(err, lock, timed_end_errno, pthread_rwlock_wrlock, lock);
	return err;
}

EXPORT int pthread_rwlock_wrlock(pthread_rwlock_t *lock)
{
	if (UNLIKELY(!may_write(lock)))
		return wrlock_taken(lock);
	return real.pthread_rwlock_wrlock(lock);
}

/* The timed functions check their time before they look at the lock: a wrong one must be an error even
 * where a try would succeed. So they are timed whenever the lock looks taken. */
EXPORT int pthread_rwlock_timedrdlock(pthread_rwlock_t *lock, const struct timespec *until)
{
	int err;

	if (LIKELY(may_read(lock)))
		return real.pthread_rwlock_timedrdlock(lock, until);
	TIMED(err, lock, timed_end_errno, pthread_rwlock_timedrdlock, lock, until);
	return err;
}

EXPORT int pthread_rwlock_timedwrlock(pthread_rwlock_t *lock, const struct timespec *until)
{
	int err;

	if (LIKELY(may_write(lock)))
		return real.pthread_rwlock_timedwrlock(lock, until);
	TIMED(err, lock, timed_end_errno, pthread_rwlock_timedwrlock, lock, until);
	return err;
}

EXPORT int pthread_rwlock_clockrdlock(pthread_rwlock_t *lock, clockid_t clock,
				      const struct timespec *until)
{
	int err;

	if (LIKELY(may_read(lock)))
		return real.pthread_rwlock_clockrdlock(lock, clock, until);
	TIMED(err, lock, timed_end_errno, pthread_rwlock_clockrdlock, lock, clock, until);
	return err;
}

EXPORT int pthread_rwlock_clockwrlock(pthread_rwlock_t *lock, clockid_t clock,
				      const struct timespec *until)
{
	int err;

	if (LIKELY(may_write(lock)))
		return real.pthread_rwlock_clockwrlock(lock, clock, until);
	TIMED(err, lock, timed_end_errno, pthread_rwlock_clockwrlock, lock, clock, until);
	return err;
}

EXPORT int pthread_rwlock_unlock(pthread_rwlock_t *lock)
{
	timed_unlock(lock, (const void *)real.pthread_rwlock_unlock);
	return real.pthread_rwlock_unlock(lock);
}
