/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for a condition. It gives the mutex up inside libc, which those who wait for the mutex see as
 * an unlock by this function; and it takes the mutex again inside libc, which counts as part of this wait.
 *
 * glibc on x86-64 has two implementations of different object size under each name; each of ours goes
 * on to its own (hazard A7).
 *
 * Context: hook.
 */
#include "hooks/mutex.h"
#include "hooks/timed.h"

/* An interrupted wait ends with 0, as POSIX wants it. */
#define WAIT(function, cond, mutex, ...)                                                  \
	do {                                                                              \
		int err_;                                                                 \
                                                                                          \
		if (UNLIKELY(locks_waited(mutex)) && mutex_lets_in(mutex))                \
			contention_unlock(mutex, (const void *)real.function);            \
		TIMED_ON(err_, cond, timed_end_errno, function, cond, mutex, ##__VA_ARGS__); \
		return err_;                                                              \
	} while (0)

#ifdef __x86_64__
#define IMPLEMENTS(name, symbol, version) __asm__(".symver " #name ", " #symbol version)

int cond_wait_new(pthread_cond_t *cond, pthread_mutex_t *mutex);
int cond_wait_old(pthread_cond_t *cond, pthread_mutex_t *mutex);
int cond_timedwait_new(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until);
int cond_timedwait_old(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until);
int cond_signal_new(pthread_cond_t *cond);
int cond_signal_old(pthread_cond_t *cond);
int cond_broadcast_new(pthread_cond_t *cond);
int cond_broadcast_old(pthread_cond_t *cond);
IMPLEMENTS(cond_signal_new, pthread_cond_signal, "@@@GLIBC_2.3.2");
IMPLEMENTS(cond_signal_old, pthread_cond_signal, "@GLIBC_2.2.5, remove");
IMPLEMENTS(cond_broadcast_new, pthread_cond_broadcast, "@@@GLIBC_2.3.2");
IMPLEMENTS(cond_broadcast_old, pthread_cond_broadcast, "@GLIBC_2.2.5, remove");
IMPLEMENTS(cond_wait_new, pthread_cond_wait, "@@@GLIBC_2.3.2");
IMPLEMENTS(cond_wait_old, pthread_cond_wait, "@GLIBC_2.2.5, remove");
IMPLEMENTS(cond_timedwait_new, pthread_cond_timedwait, "@@@GLIBC_2.3.2");
IMPLEMENTS(cond_timedwait_old, pthread_cond_timedwait, "@GLIBC_2.2.5, remove");

EXPORT int cond_wait_old(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	WAIT(pthread_cond_wait_old, cond, mutex);
}

EXPORT int cond_timedwait_old(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until)
{
	WAIT(pthread_cond_timedwait_old, cond, mutex, until);
}

EXPORT int cond_signal_old(pthread_cond_t *cond)
{
	timed_wakes(cond, (const void *)real.pthread_cond_signal_old);
	return real.pthread_cond_signal_old(cond);
}

EXPORT int cond_broadcast_old(pthread_cond_t *cond)
{
	timed_wakes(cond, (const void *)real.pthread_cond_broadcast_old);
	return real.pthread_cond_broadcast_old(cond);
}
#else
#define cond_signal_new	   pthread_cond_signal
#define cond_broadcast_new pthread_cond_broadcast
#define cond_wait_new	   pthread_cond_wait
#define cond_timedwait_new pthread_cond_timedwait
#endif

EXPORT int cond_wait_new(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	WAIT(pthread_cond_wait, cond, mutex);
}

EXPORT int cond_timedwait_new(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until)
{
	WAIT(pthread_cond_timedwait, cond, mutex, until);
}

EXPORT int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
				  const struct timespec *until)
{
	WAIT(pthread_cond_clockwait, cond, mutex, clock, until);
}

EXPORT int cond_signal_new(pthread_cond_t *cond)
{
	timed_wakes(cond, (const void *)real.pthread_cond_signal);
	return real.pthread_cond_signal(cond);
}

EXPORT int cond_broadcast_new(pthread_cond_t *cond)
{
	timed_wakes(cond, (const void *)real.pthread_cond_broadcast);
	return real.pthread_cond_broadcast(cond);
}
