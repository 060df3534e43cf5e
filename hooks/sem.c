/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Semaphores.
 *
 * Context: hook.
 */
#include "hooks/sem.h"

#include "hooks/layout.h"
#include "hooks/timed.h"

/* For what sets errno. Reads it only after a failure. */
static inline enum contention_end end_of(int result)
{
	if (!result)
		return WAIT_GOT;
	return errno == ETIMEDOUT || errno == EINTR ? WAIT_GAVE_UP : WAIT_NONE;
}

/* A semaphore with a value above 0 is tried; one with 0 waits in any case. Each of these functions acts on a
 * cancellation request before it looks at the semaphore, also where it does not wait. */
#define TRY_SEM(sem)                                                \
	do {                                                          \
		if (sem_value(sem) || layout_strange.sem) {           \
			int errno_ = errno;                           \
                                                                      \
			pthread_testcancel();                         \
			if (LIKELY(sem_trywait(sem) == 0))            \
				return 0;                             \
			errno = errno_;                               \
		}                                                     \
	} while (0)

static NOINLINE int try_and_wait(sem_t *sem)
{
	int result;

	TRY_SEM(sem);
	locks_found_busy(sem);
	TIMED_ON(result, sem, end_of, sem_wait, sem);
	return result;
}

EXPORT int sem_wait(sem_t *sem)
{
	if (LIKELY(sem_value(sem) && !locks_busy(sem)))
		return real.sem_wait(sem);
	return try_and_wait(sem);
}

EXPORT int sem_timedwait(sem_t *restrict sem, const struct timespec *restrict until)
{
	int result;

	if (UNLIKELY(!timed_is_valid(CLOCK_REALTIME, until)))
		return real.sem_timedwait(sem, until);
	TRY_SEM(sem);
	TIMED_ON(result, sem, end_of, sem_timedwait, sem, until);
	return result;
}

EXPORT int sem_clockwait(sem_t *restrict sem, clockid_t clock, const struct timespec *restrict until)
{
	int result;

	if (UNLIKELY(!timed_is_valid(clock, until)))
		return real.sem_clockwait(sem, clock, until);
	TRY_SEM(sem);
	TIMED_ON(result, sem, end_of, sem_clockwait, sem, clock, until);
	return result;
}

EXPORT int sem_post(sem_t *sem)
{
	timed_wakes(sem, (const void *)real.sem_post);
	return real.sem_post(sem);
}
