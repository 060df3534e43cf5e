/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the hooks of waiting functions have in common: try first; only "busy" goes on to the call that
 * waits, and is timed (hazard B7). A lock that looks free, and was never found busy, is left to the real
 * function without a try: that is 1.3 ns cheaper. For a busy lock it would not do: it is often taken between
 * the look and the call, and then waited for unseen (measured: one wait in five, the long ones). So
 * what can go unseen is a wait at the moment when a lock becomes a busy one. Context: hook.
 */
#ifndef HOOKS_TIMED_H
#define HOOKS_TIMED_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <threads.h>

#include "agent/collect/contention.h"
#include "hooks/real.h"

/*
 * result = real.function(arguments), with its duration recorded. lock: see contention_before; end_of
 * turns the result into an enum contention_end. The guard is down during the real call, and no
 * code of ours must run when it is left by cancellation: nothing is to be undone.
 */
#define TIMED(result, lock, end_of, function, ...) \
	TIMED_BOTH(result, lock, lock, end_of, function, __VA_ARGS__)

/* The same for what is no lock: object is what timed_wakes is called with. */
#define TIMED_ON(result, object, end_of, function, ...) \
	TIMED_BOTH(result, NULL, (const void *)(object), end_of, function, __VA_ARGS__)

#define TIMED_BOTH(result, lock, object, end_of, function, ...)                                 \
	do {                                                                                    \
		struct contention_wait wait_;                                                   \
		bool recorded_ = contention_before(&wait_, lock, object,                        \
						   (const void *)real.function);                \
                                                                                                \
		result = real.function(__VA_ARGS__);                                            \
		if (recorded_)                                                                  \
			contention_after(&wait_, (const void *)real.function, end_of(result)); \
	} while (0)

/* Before `function` lets those go on who wait for object: traces show who it was. */
static inline void timed_wakes(const void *object, const void *function)
{
	if (tracebuf_on() && locks_waited(object))
		contention_wakes(object, function);
}

/* Returns from the hook what the try answers, unless that is `busy`. */
#define TRY_FIRST(busy, try, ...)               \
	do {                                    \
		int tried_ = try(__VA_ARGS__);  \
                                                \
		if (LIKELY(tried_ != (busy)))   \
			return tried_;          \
	} while (0)

/* The same for a lock that is also taken after a mere look. */
#define TRY_LOCK_FIRST(busy, try, lock)         \
	do {                                    \
		TRY_FIRST(busy, try, lock);     \
		locks_found_busy(lock);         \
	} while (0)

/*
 * Defines `int function_tries(type *lock)` for a lock that is not free at a look, or was found busy before. What
 * waits is a function of its own: so that where the try succeeds no frame is made for it, which is 1 ns of 3.
 */
#define TRY_AND_WAIT(function, type, busy, try, end_of)          \
	static NOINLINE int function##_waits(type *lock)         \
	{                                                        \
		int result;                                      \
                                                                 \
		locks_found_busy(lock);                          \
		TIMED(result, lock, end_of, function, lock);     \
		return result;                                   \
	}                                                        \
                                                                 \
	HOT static NOINLINE int function##_tries(type *lock)     \
	{                                                        \
		TRY_FIRST(busy, try, lock);                      \
		return function##_waits(lock);                   \
	}

/* A wrong time or clock is an error even where a try would succeed: then nothing is tried. */
static inline bool timed_is_valid(clockid_t clock, const struct timespec *until)
{
	return until && (clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC) && until->tv_nsec >= 0 &&
	       until->tv_nsec < 1000000000;
}

/* For functions that return an error number. */
static inline enum contention_end timed_end_errno(int err)
{
	switch (err) {
	case 0:
	case EOWNERDEAD:
	case ENOTRECOVERABLE: /* those who waited for a robust mutex are woken with it */
		return WAIT_GOT;
	case ETIMEDOUT:
		return WAIT_GAVE_UP;
	default:
		return WAIT_NONE;
	}
}

/* For those of <threads.h>. */
static inline enum contention_end timed_end_thrd(int result)
{
	return result == thrd_success ? WAIT_GOT : result == thrd_timedout ? WAIT_GAVE_UP : WAIT_NONE;
}

/* name##_charged(lock): the real function, and if lets_in(lock) those who wait are charged to the
 * caller: behind it, when the lock is free again. The lock itself may be gone by then (hazard B8):
 * its address is a key. */
#define UNLOCK_AND_CHARGE(name, type, lets_in)                                                     \
	static NOINLINE int name##_charged(type *lock)                                             \
	{                                                                                          \
		struct contention_unlock unlock_;                                                  \
		int err_;                                                                          \
                                                                                                   \
		if (!lets_in(lock))                                                                \
			return real.name(lock);                                                    \
		contention_unlock_begins(&unlock_, (const void *)lock, (const void *)real.name);   \
		err_ = real.name(lock);                                                            \
		contention_unlock_ends(&unlock_);                                                  \
		return err_;                                                                       \
	}

#endif
