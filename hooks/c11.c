/* SPDX-License-Identifier: Apache-2.0 */
/*
 * <threads.h>. libc's do not pass through the public pthread functions, so they have hooks of their own.
 * In glibc an mtx_t is a pthread_mutex_t (nptl/thrd_priv.h).
 *
 * Context: hook.
 */
#include "hooks/mutex.h"
#include "hooks/timed.h"

_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t), "one layout");

static inline pthread_mutex_t *inside(mtx_t *mutex)
{
	return (pthread_mutex_t *)(void *)mutex;
}

TRY_AND_WAIT(mtx_lock, mtx_t, thrd_busy, mtx_trylock, timed_end_thrd)

EXPORT int mtx_lock(mtx_t *mutex)
{
	if (mutex_looks_free(inside(mutex)))
		return real.mtx_lock(mutex);
	return mtx_lock_tries(mutex);
}

EXPORT int mtx_timedlock(mtx_t *restrict mutex, const struct timespec *restrict until)
{
	int result;

	if (UNLIKELY(!timed_is_valid(CLOCK_REALTIME, until)))
		return real.mtx_timedlock(mutex, until);
	TRY_LOCK_FIRST(thrd_busy, mtx_trylock, mutex);
	TIMED(result, mutex, timed_end_thrd, mtx_timedlock, mutex, until);
	return result;
}

static bool lets_in(const mtx_t *mutex)
{
	return mutex_lets_in((const pthread_mutex_t *)mutex);
}

UNLOCK_AND_CHARGE(mtx_unlock, mtx_t, lets_in)

EXPORT int mtx_unlock(mtx_t *mutex)
{
	if (UNLIKELY(locks_waited(mutex)))
		return mtx_unlock_charged(mutex);
	return real.mtx_unlock(mutex);
}

EXPORT int cnd_wait(cnd_t *cond, mtx_t *mutex)
{
	int result;

	if (UNLIKELY(locks_waited(mutex)) && lets_in(mutex))
		contention_unlock(mutex, (const void *)real.cnd_wait);
	TIMED_ON(result, cond, timed_end_thrd, cnd_wait, cond, mutex);
	return result;
}

EXPORT int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex,
			 const struct timespec *restrict until)
{
	int result;

	if (UNLIKELY(locks_waited(mutex)) && lets_in(mutex))
		contention_unlock(mutex, (const void *)real.cnd_timedwait);
	TIMED_ON(result, cond, timed_end_thrd, cnd_timedwait, cond, mutex, until);
	return result;
}

EXPORT int cnd_signal(cnd_t *cond)
{
	timed_wakes(cond, (const void *)real.cnd_signal);
	return real.cnd_signal(cond);
}

EXPORT int cnd_broadcast(cnd_t *cond)
{
	timed_wakes(cond, (const void *)real.cnd_broadcast);
	return real.cnd_broadcast(cond);
}

/* A thread that has ended is joined without a wait, which nothing tells beforehand: there is no try. */
EXPORT int thrd_join(thrd_t thread, int *out)
{
	int result;

	TIMED_ON(result, thread, timed_end_thrd, thrd_join, thread, out);
	return result;
}
