/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waits of those who bring their own locks and call the kernel through libc's syscall(): Rust's standard
 * library, parking_lot, abseil, folly, std::atomic::wait. agent/arch/<cpu>/syscall.S sends us the calls
 * that wait and those that wake; all others never come here.
 *
 * A futex is also how conditions, channels and thread pools sleep, and whoever wakes a sleeper that has
 * nothing to do is not to blame. So only those waits count as waits for a lock whose expected value
 * is 2: "taken, and somebody waits" of the three-state mutex that nearly all of them are (U. Drepper,
 * "Futexes Are Tricky", 2011).
 *
 * Context: hook.
 */
#include "hooks/timed.h"

enum { TAKEN_AND_WAITED_FOR = 2 };

long futex_wait(long number, void *word, long op, long expected, const struct timespec *time, void *word2,
		long mask) HIDDEN;
long futex_wake(long number, void *word, long op, long n, const struct timespec *time, void *word2,
		long mask) HIDDEN;

/* The kernel has compared: a word of another value is no wait. Reads errno only after a failure. */
static inline enum contention_end end_of(long result)
{
	if (!result)
		return WAIT_GOT;
	return errno == ETIMEDOUT || errno == EINTR ? WAIT_GAVE_UP : WAIT_NONE;
}

long futex_wait(long number, void *word, long op, long expected, const struct timespec *time, void *word2,
		long mask)
{
	const void *lock = (int)expected == TAKEN_AND_WAITED_FOR ? word : NULL;
	long result;

	TIMED_BOTH(result, lock, word, end_of, syscall, number, word, op, expected, time, word2, mask);
	return result;
}

long futex_wake(long number, void *word, long op, long n, const struct timespec *time, void *word2,
		long mask)
{
	struct contention_unlock unlock;
	long result;

	if (LIKELY(!locks_waited(word)))
		return real.syscall(number, word, op, n, time, word2, mask);
	contention_unlock_begins(&unlock, word, (const void *)real.syscall);
	result = real.syscall(number, word, op, n, time, word2, mask);
	contention_unlock_ends(&unlock);
	return result;
}
