/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mutex functions. A free mutex goes straight on to the real function; one that looks taken is
 * timed. Results are passed on unread by anybody but the profiles, whatever the kind of mutex (hazard
 * B7), and nothing touches a mutex once it is unlocked: it may be gone (hazard B8).
 *
 * Context: hook.
 */
#include "hooks/mutex.h"

#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/base/tls.h"
#include "agent/collect/threads.h"
#include "hooks/timed.h"

enum {
	/* of __data.__kind */
	KIND_MASK = 3,
	KIND_RECURSIVE = 1,
	KIND_ERRORCHECK = 2,
	KIND_ROBUST = 16,
	KIND_INHERIT = 32,
	KIND_PROTECT = 64,
	/* of __data.__lock */
	OWNER_DIED = 0x40000000,	 /* FUTEX_OWNER_DIED */
	CEILING = (int)0xfff80000,	 /* of priority-protected mutexes */
};

/* The caller's kernel id as mutexes know it; 0: not known. */
static int own_tid(void)
{
	if (!tls.tid && guard_enter()) {
		threads_adopt();
		guard_leave();
	}
	return (int)tls.tid;
}

bool mutex_returns_at_once(const pthread_mutex_t *mutex)
{
	int word = __atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED);
	int kind = mutex->__data.__kind;

	if (layout_strange.mutex)
		return false;
	if (LIKELY(!(kind & (KIND_MASK | KIND_ROBUST | KIND_INHERIT | KIND_PROTECT))))
		return false;
	if (__atomic_load_n(&mutex->__data.__owner, __ATOMIC_RELAXED) == own_tid())
		return true;
	if (kind & KIND_ROBUST)
		return word & OWNER_DIED;
	return (kind & KIND_PROTECT) && !(word & ~CEILING);
}

NOINLINE void mutex_count_untimed(void)
{
	stat_add(STAT_LOCKS_UNTIMED, 1);
}

void mutex_unlocks(const pthread_mutex_t *mutex, const void *function)
{
	int type = mutex->__data.__kind & KIND_MASK;

	if (!layout_strange.mutex && (type == KIND_RECURSIVE || type == KIND_ERRORCHECK)) {
		if (__atomic_load_n(&mutex->__data.__owner, __ATOMIC_RELAXED) != own_tid())
			return;
		if (type == KIND_RECURSIVE && mutex->__data.__count > 1)
			return;
	}
	contention_unlock(mutex, function);
}

/* What tells "taken" from everything else on a libc that we do not know. */
#define TRY_FIRST(mutex)                                    \
	do {                                                \
		int tried_;                                 \
                                                            \
		if (!layout_strange.mutex)                         \
			break;                              \
		tried_ = pthread_mutex_trylock(mutex); \
		if (tried_ != EBUSY)                        \
			return tried_;                      \
	} while (0)

static NOINLINE int lock_taken(pthread_mutex_t *mutex)
{
	int err;

	if (mutex_returns_at_once(mutex))
		return real.pthread_mutex_lock(mutex);
	TRY_FIRST(mutex);
	TIMED(err, mutex, timed_end_errno, pthread_mutex_lock, mutex);
	return err;
}

EXPORT int pthread_mutex_lock(pthread_mutex_t *mutex)
{
	int err;

	if (UNLIKELY(mutex_word(mutex)))
		return lock_taken(mutex);
	err = real.pthread_mutex_lock(mutex);
	if (UNLIKELY(mutex_was_taken(mutex)))
		mutex_count_untimed();
	return err;
}

EXPORT int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *until)
{
	int err;

	if (LIKELY(!mutex_word(mutex)) || mutex_returns_at_once(mutex))
		return real.pthread_mutex_timedlock(mutex, until);
	TRY_FIRST(mutex);
	TIMED(err, mutex, timed_end_errno, pthread_mutex_timedlock, mutex, until);
	return err;
}

EXPORT int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock,
				   const struct timespec *until)
{
	int err;

	if (LIKELY(!mutex_word(mutex)) || mutex_returns_at_once(mutex))
		return real.pthread_mutex_clocklock(mutex, clock, until);
	TRY_FIRST(mutex);
	TIMED(err, mutex, timed_end_errno, pthread_mutex_clocklock, mutex, clock, until);
	return err;
}

EXPORT int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	if (UNLIKELY(locks_waited(mutex)))
		mutex_unlocks(mutex, (const void *)real.pthread_mutex_unlock);
	return real.pthread_mutex_unlock(mutex);
}
