/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The locks that sampled waiters wait for, by address: who unlocks such a lock is charged with the time
 * that they lost. Time is cut into segments: each unlock closes one for all waiters at once, and the
 * waiter books what is left between the last unlock and the end of its wait. So every nanosecond
 * of a wait is booked exactly once, however many waiters there are, and an unlock costs the same for
 * 1 waiter and for 1000. Lock-free: no unlock ever waits for another thread's.
 *
 * An unlock comes in two parts: with the lock held, the segment is closed; who closed it is found out when the
 * lock is free, because a stack that is taken with the lock held makes others wait for it. A waiter that has
 * the lock before that leaves the rest of its wait to the unlocker.
 *
 * The address is a key and nothing else: no lock is ever read here (hazard B8).
 */
#ifndef COLLECT_LOCKS_H
#define COLLECT_LOCKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/attr.h"

struct bucket;
struct lock_entry;

/* 8 KiB, so that what every unlock reads stays in the first-level cache. */
enum { LOCKS_SLOT_BITS = 12, LOCKS_SLOTS = 1 << LOCKS_SLOT_BITS };

/* Per slot LOCKS_WAITER times the number of waiters, and whether one of its locks was found busy; only locks.c
 * writes it. */
enum { LOCKS_BUSY = 1, LOCKS_WAITER = 2 };
extern _Atomic uint16_t locks_filter[LOCKS_SLOTS] HIDDEN;

/* A thread's own part of its wait. It lies in the thread's record, so that a wait that is left by
 * longjmp or asynchronous cancellation is found again. */
struct lock_wait {
	struct lock_entry *entry; /* NULL: waits for no lock that is sampled */
	uint64_t since_ns;	  /* CLOCK_MONOTONIC */
	uint32_t slot;
	uint32_t round;	 /* of the entry: a forked child starts anew */
	uint32_t closes; /* segments of the entry when the wait began */
	uint32_t record; /* kept for the end of the wait, which must not fail */
};

/* What is to be booked, and on whom. */
struct lock_share {
	struct bucket *unlocker; /* NULL: nobody was seen to unlock */
	/* below 0: the wait had ended before the unlock that was charged with it looked at the clock */
	int64_t ns;
	uint64_t waits; /* that ended */
};

enum lock_end {
	LOCK_END_GOT,	   /* the waiter has the lock */
	LOCK_END_GAVE_UP,  /* time ran out: what is owed goes to the next unlock */
	LOCK_END_FORGET,   /* it was no wait at all, or nobody knows how it ended */
};

/* Context: hook. */
static inline uint32_t locks_slot(const void *lock)
{
	return (uint32_t)(uintptr_t)lock * 0x9e3779b1u >> (32 - LOCKS_SLOT_BITS);
}

/* Does a sampled waiter wait for this lock (or, seldom, for another one of the same slot)? All that an
 * unlock costs as long as the answer is no. Context: hook. */
static inline bool locks_waited(const void *lock)
{
	return atomic_load_explicit(&locks_filter[locks_slot(lock)], memory_order_relaxed) >= LOCKS_WAITER;
}

/* Not 0: this lock was found busy before (or, seldom, another one of the same slot), so that it may be taken
 * between a look at it and a call that waits. Where this is 0, a lock that looks free can be left to the
 * real function, which is 1.3 ns cheaper than to try it first. Context: hook. */
static inline unsigned locks_busy(const void *lock)
{
	return atomic_load_explicit(&locks_filter[locks_slot(lock)], memory_order_relaxed) & LOCKS_BUSY;
}

/* From now on locks_busy(lock), until so many locks were found busy that all begin anew. Context: hook. */
void locks_found_busy(const void *lock);

/* From now on locks_busy is true for all, for ever: what locks look like is not known. Context: init. */
void locks_all_busy(void);

/* From now on the time counts. false: there is no memory, or too many wait (counted).
 * Context: hook; the guard is up. */
bool locks_join(struct lock_wait *wait, const void *lock, uint64_t now_ns);

/* The wait is over, and what is left of it is in *out (ns and waits may be 0). Context: hook; the guard
 * is up. */
void locks_leave(struct lock_wait *wait, uint64_t now_ns, enum lock_end end, struct lock_share *out);

/* An unlock under way; lies on the unlocker's stack. */
enum { LOCKS_TWINS = 4 }; /* entries of one lock: more than one is seldom; more than these keep their segment */
struct locks_unlock {
	struct locks_closed {
		struct lock_entry *entry;
		uint32_t closes, life;
		uint32_t record; /* kept for the end */
	} of[LOCKS_TWINS];
	unsigned n;
	uint32_t round;
	struct lock_share share;
};

/* Before the real unlock: closes a segment. true: sampled waiters wait for this very lock; then
 * locks_unlock_ends is due. If it never comes (the program left its unlock by longjmp), what would have been
 * booked is lost. Context: hook; the guard is up. */
bool locks_unlock_begins(struct locks_unlock *unlock, const void *lock);

/* After it: what the caller is to book. He is the one who is charged with what comes until the next unlock.
 * Context: hook; the guard is up. */
void locks_unlock_ends(const struct locks_unlock *unlock, const void *lock, struct bucket *unlocker,
		       struct lock_share *out);

/* Leads unlocks of this slot to the slow path though no sampled waiter is there; pair each true with
 * locks_unhold. false: too many wait there already. Context: hook; the guard is up. */
bool locks_hold(uint32_t slot);
void locks_unhold(uint32_t slot);

/* Nobody waits here. Context: child. */
void locks_child(void);

#endif
