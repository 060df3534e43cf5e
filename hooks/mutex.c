/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mutex functions. Results are passed on unread by anybody but the profiles, whatever the kind of
 * mutex (hazard B7), and nothing touches a mutex once it is unlocked: it may be gone (hazard B8).
 *
 * Context: hook.
 */
#include "hooks/mutex.h"

#include "agent/base/tls.h"
#include "agent/collect/threads.h"
#include "hooks/layout.h"
#include "hooks/timed.h"

enum {
	/* of __data.__kind */
	KIND_MASK = 3,
	KIND_RECURSIVE = 1,
	KIND_ERRORCHECK = 2,
	KIND_PROTECT = 64,
	/* of __data.__lock */
	CEILING = (int)0xfff80000, /* of priority-protected mutexes */
};

TRY_AND_WAIT(pthread_mutex_lock, pthread_mutex_t, EBUSY, pthread_mutex_trylock, timed_end_errno)

HOT EXPORT int pthread_mutex_lock(pthread_mutex_t *mutex)
{
	if (mutex_looks_free(mutex))
		return real.pthread_mutex_lock(mutex);
	return pthread_mutex_lock_tries(mutex);
}

EXPORT int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *until)
{
	int err;

	if (UNLIKELY(!timed_is_valid(CLOCK_REALTIME, until)))
		return real.pthread_mutex_timedlock(mutex, until);
	TRY_LOCK_FIRST(EBUSY, pthread_mutex_trylock, mutex);
	TIMED(err, mutex, timed_end_errno, pthread_mutex_timedlock, mutex, until);
	return err;
}

EXPORT int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock,
				   const struct timespec *until)
{
	int err;

	if (UNLIKELY(!timed_is_valid(clock, until)))
		return real.pthread_mutex_clocklock(mutex, clock, until);
	TRY_LOCK_FIRST(EBUSY, pthread_mutex_trylock, mutex);
	TIMED(err, mutex, timed_end_errno, pthread_mutex_clocklock, mutex, clock, until);
	return err;
}

/* The caller's kernel id as mutexes know it; 0: not known. */
static int own_tid(void)
{
	if (!tls.tid && guard_enter()) {
		threads_adopt();
		guard_leave();
	}
	return (int)tls.tid;
}

/* Only an unlock that finds sleepers wakes one. On a busy mutex the thread that has the processor takes and
 * gives it thousands of times while the one that it woke is on its way: all that is charged once, to
 * the unlock after which the waiter slept again, as in Go. (Measured: 600 unlocks for each wait on a
 * mutex with 8 threads.) */
static bool somebody_sleeps(const pthread_mutex_t *mutex, int kind)
{
	int word = __atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED);

	if (kind & KIND_PROTECT)
		word &= ~CEILING;
	return word == 2 || word < 0;
}

bool mutex_lets_in(const pthread_mutex_t *mutex)
{
	int kind = mutex->__data.__kind, type = kind & KIND_MASK;

	if (layout_strange.mutex)
		return true;
	if (!somebody_sleeps(mutex, kind))
		return false;
	if (type != KIND_RECURSIVE && type != KIND_ERRORCHECK)
		return true;
	if (__atomic_load_n(&mutex->__data.__owner, __ATOMIC_RELAXED) != own_tid())
		return false;
	return type != KIND_RECURSIVE || mutex->__data.__count <= 1;
}

UNLOCK_AND_CHARGE(pthread_mutex_unlock, pthread_mutex_t, mutex_lets_in)

HOT EXPORT int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	if (UNLIKELY(locks_waited(mutex)))
		return pthread_mutex_unlock_charged(mutex);
	return real.pthread_mutex_unlock(mutex);
}
