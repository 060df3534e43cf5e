/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mutex functions. For now they only forward; the results of the real functions are passed on
 * unread, whatever the kind of mutex (hazard B7).
 *
 * Context: hook.
 */
#include "agent/base/attr.h"
#include "hooks/real.h"

EXPORT int pthread_mutex_lock(pthread_mutex_t *mutex)
{
	return real.pthread_mutex_lock(mutex);
}

EXPORT int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *until)
{
	return real.pthread_mutex_timedlock(mutex, until);
}

EXPORT int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock,
				   const struct timespec *until)
{
	return real.pthread_mutex_clocklock(mutex, clock, until);
}

EXPORT int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	return real.pthread_mutex_unlock(mutex);
}
