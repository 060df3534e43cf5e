/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Semaphores. One with a value above 0 goes straight on to the real function.
 *
 * Context: hook.
 */
#include "hooks/sem.h"

#include "hooks/layout.h"
#include "hooks/timed.h"

static inline bool is_free(const sem_t *sem)
{
	return !layout_strange.sem && sem_value(sem) != 0;
}

/* For what sets errno. Reads it only after a failure. */
static inline enum contention_end end_of(int result)
{
	if (!result)
		return WAIT_GOT;
	return errno == ETIMEDOUT || errno == EINTR ? WAIT_GAVE_UP : WAIT_NONE;
}

/* On a libc that we do not know: only "would block" goes on, with errno as it was. */
#define TRY_FIRST(sem)                        \
	do {                                  \
		int errno_ = errno;           \
                                              \
		if (!layout_strange.sem)      \
			break;                \
		if (sem_trywait(sem) == 0)    \
			return 0;             \
		if (errno != EAGAIN)          \
			return -1;            \
		errno = errno_;               \
	} while (0)

EXPORT int sem_wait(sem_t *sem)
{
	int result;

	if (LIKELY(is_free(sem)))
		return real.sem_wait(sem);
	TRY_FIRST(sem);
	TIMED(result, NULL, end_of, sem_wait, sem);
	return result;
}

EXPORT int sem_timedwait(sem_t *restrict sem, const struct timespec *restrict until)
{
	int result;

	if (LIKELY(is_free(sem)))
		return real.sem_timedwait(sem, until);
	TIMED(result, NULL, end_of, sem_timedwait, sem, until);
	return result;
}

EXPORT int sem_clockwait(sem_t *restrict sem, clockid_t clock, const struct timespec *restrict until)
{
	int result;

	if (LIKELY(is_free(sem)))
		return real.sem_clockwait(sem, clock, until);
	TIMED(result, NULL, end_of, sem_clockwait, sem, clock, until);
	return result;
}
