/* SPDX-License-Identifier: Apache-2.0 */
/* The table of locks: every nanosecond of a wait is booked once, to the right unlocker. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>

#include "agent/base/random.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/locks.h"
#include "tests/unit/test.h"

/* never looked into */
static char locks[64];
static struct bucket *const alice = (struct bucket *)16, *const bob = (struct bucket *)32;

static uint64_t now(void)
{
	return sys_clock_ns(CLOCK_MONOTONIC);
}

static bool unlocks(const void *lock)
{
	struct locks_unlock unlock;
	struct lock_share share;
	bool waited = locks_unlock_begins(&unlock, lock);

	if (waited)
		locks_unlock_ends(&unlock, lock, NULL, &share);
	return waited;
}

/* A whole unlock. */
static void unlock_by(const void *lock, struct bucket *unlocker, struct lock_share *out)
{
	struct locks_unlock unlock;

	*out = (struct lock_share){ unlocker, 0, 0 };
	if (locks_unlock_begins(&unlock, lock))
		locks_unlock_ends(&unlock, lock, unlocker, out);
}

TEST(a_wait_is_cut_into_segments)
{
	struct lock_wait w = { 0 };
	struct lock_share first, second, last;
	uint64_t start = now();

	CHECK(!locks_waited(&locks[0]));
	CHECK(locks_join(&w, &locks[0], start));
	CHECK(locks_waited(&locks[0]));
	CHECK(!unlocks(&locks[1]));
	sys_sleep_ns(1000000);
	unlock_by(&locks[0], alice, &first);
	sys_sleep_ns(1000000);
	unlock_by(&locks[0], bob, &second);
	sys_sleep_ns(1000000);
	uint64_t end = now();
	locks_leave(&w, end, LOCK_END_GOT, &last);
	CHECK(first.unlocker == alice && second.unlocker == bob && last.unlocker == bob);
	CHECK(first.ns >= 1000000 && second.ns >= 1000000 && last.ns >= 1000000);
	CHECK_INT(first.ns + second.ns + last.ns, end - start);
	CHECK_INT(first.waits + second.waits + last.waits, 1);
	CHECK(!locks_waited(&locks[0]));
	CHECK(w.entry == NULL);
}

TEST(one_unlock_closes_for_all_waiters)
{
	enum { N = 50 };
	struct lock_wait w[N] = { 0 };
	struct lock_share share;
	uint64_t start = now(), closed, sum;

	for (int i = 0; i < N; i++)
		CHECK(locks_join(&w[i], &locks[2], start));
	sys_sleep_ns(2000000);
	unlock_by(&locks[2], alice, &share);
	closed = share.ns / N;
	CHECK_INT(share.ns, (int64_t)closed * N);
	CHECK(closed >= 2000000);
	sum = 0;
	for (int i = 0; i < N; i++) {
		locks_leave(&w[i], start + closed + 5, LOCK_END_GOT, &share);
		CHECK(share.unlocker == alice);
		sum += share.ns;
	}
	CHECK_INT(sum, 5 * N);
	CHECK(!locks_waited(&locks[2]));
}

TEST(who_gives_up_leaves_a_debt_for_the_next_unlock)
{
	struct lock_wait w = { 0 };
	struct lock_share share;
	uint64_t start = now();

	CHECK(locks_join(&w, &locks[3], start));
	locks_leave(&w, start + 700, LOCK_END_GAVE_UP, &share);
	CHECK_INT(share.ns, 0);
	CHECK_INT(share.waits, 0);
	CHECK(locks_join(&w, &locks[3], start));
	locks_leave(&w, start + 300, LOCK_END_GAVE_UP, &share);
	CHECK(locks_waited(&locks[3]));
	unlock_by(&locks[3], bob, &share);
	CHECK_INT(share.ns, 1000);
	CHECK_INT(share.waits, 2);
	CHECK(!locks_waited(&locks[3]));
	unlock_by(&locks[3], bob, &share);
	CHECK_INT(share.ns, 0);
}

/* The lock is free before it is known who freed it: who gets it meanwhile leaves the rest of its wait to that
 * one, and what it frees itself is not taken for his. */
TEST(who_is_faster_than_the_unlocker_leaves_the_rest_to_him)
{
	struct lock_wait w[2] = { { 0 } };
	struct locks_unlock alices;
	struct lock_share share, bobs;
	uint64_t start = now(), end;

	CHECK(locks_join(&w[0], &locks[8], start));
	CHECK(locks_join(&w[1], &locks[8], start));
	sys_sleep_ns(20000000);
	CHECK(locks_unlock_begins(&alices, &locks[8]));
	end = now();
	locks_leave(&w[0], end, LOCK_END_GOT, &share);
	CHECK_INT(share.ns, 0);
	CHECK_INT(share.waits, 0);
	/* and lets the other one in at once, who is as fast */
	unlock_by(&locks[8], bob, &bobs);
	CHECK(bobs.ns < 20000000);
	CHECK_INT(bobs.waits, 0);
	locks_leave(&w[1], end + 30000000, LOCK_END_GOT, &share);
	CHECK(share.unlocker == bob);
	CHECK_INT(share.waits, 1);
	bobs.ns += share.ns;
	CHECK(locks_waited(&locks[8]));
	locks_unlock_ends(&alices, &locks[8], alice, &share);
	CHECK_INT(share.waits, 1);
	CHECK(share.ns >= 40000000);
	CHECK_INT(share.ns + bobs.ns, end - start + end + 30000000 - start);
	CHECK(!locks_waited(&locks[8]));
	/* and now nobody */
	CHECK(locks_join(&w[0], &locks[8], now()));
	unlock_by(&locks[8], alice, &share);
	locks_leave(&w[0], now(), LOCK_END_GOT, &share);
	CHECK(share.unlocker == alice);
	CHECK_INT(share.waits, 1);
}

TEST(who_freed_it_later_stays_known)
{
	struct lock_wait w[2] = { { 0 } };
	struct locks_unlock alices;
	struct lock_share share;

	CHECK(locks_join(&w[0], &locks[9], now()));
	CHECK(locks_unlock_begins(&alices, &locks[9]));
	unlock_by(&locks[9], bob, &share);
	locks_unlock_ends(&alices, &locks[9], alice, &share);
	locks_leave(&w[0], now(), LOCK_END_GOT, &share);
	CHECK(share.unlocker == bob);
	CHECK_INT(share.waits, 1);
	CHECK(!locks_waited(&locks[9]));
}

TEST(a_forgotten_wait_leaves_nothing)
{
	struct lock_wait w = { 0 };
	struct lock_share share;

	CHECK(locks_join(&w, &locks[4], now()));
	locks_leave(&w, 0, LOCK_END_FORGET, &share);
	CHECK_INT(share.ns, 0);
	CHECK_INT(share.waits, 0);
	CHECK(!locks_waited(&locks[4]));
}

TEST(an_old_unlocker_is_not_blamed_for_a_new_lock_at_his_address)
{
	struct lock_wait w = { 0 };
	struct lock_share share;

	CHECK(locks_join(&w, &locks[5], now()));
	unlock_by(&locks[5], alice, &share);
	locks_leave(&w, now(), LOCK_END_GOT, &share);
	CHECK(share.unlocker == alice);
	CHECK(locks_join(&w, &locks[5], now()));
	locks_leave(&w, now(), LOCK_END_GOT, &share);
	CHECK(share.unlocker == NULL);
}

TEST(a_child_starts_without_waiters)
{
	struct lock_wait before = { 0 }, w = { 0 };
	struct locks_unlock unlock;
	struct lock_share share;

	CHECK(locks_join(&before, &locks[6], now()));
	CHECK(locks_unlock_begins(&unlock, &locks[6]));
	locks_child();
	CHECK(!locks_waited(&locks[6]));
	locks_leave(&before, now(), LOCK_END_GOT, &share);
	CHECK_INT(share.ns, 0);
	CHECK(!locks_waited(&locks[6]));
	locks_unlock_ends(&unlock, &locks[6], alice, &share);
	CHECK_INT(share.ns, 0);
	CHECK(locks_join(&w, &locks[6], now()));
	locks_leave(&w, now(), LOCK_END_GOT, &share);
	CHECK_INT(share.waits, 1);
	CHECK(!locks_waited(&locks[6]));
}

TEST(a_lock_is_known_as_busy_and_waits_for_it_stay_apart_from_that)
{
	struct lock_wait w = { 0 };
	struct lock_share share;

	CHECK(!locks_busy(&locks[7]) && !locks_waited(&locks[7]));
	locks_found_busy(&locks[7]);
	locks_found_busy(&locks[7]);
	CHECK(locks_busy(&locks[7]) && !locks_waited(&locks[7]));
	CHECK(locks_join(&w, &locks[7], now()));
	CHECK(locks_busy(&locks[7]) && locks_waited(&locks[7]));
	locks_leave(&w, now(), LOCK_END_GOT, &share);
	CHECK(locks_busy(&locks[7]) && !locks_waited(&locks[7]));
	locks_child();
	CHECK(locks_busy(&locks[7]) && !locks_waited(&locks[7]));
}

static int busy_ones(const char *memory, int n)
{
	int busy = 0;

	for (int i = 0; i < n; i++)
		busy += locks_busy(memory + i * 64) != 0;
	return busy;
}

/* Locks come and go: what was busy once must not make all of them slow in the end. */
TEST(few_slots_are_busy_at_a_time)
{
	enum { N = 4 * LOCKS_SLOTS };
	static char memory[N * 64];
	struct lock_wait w = { 0 };
	struct lock_share share;

	CHECK(locks_join(&w, &memory[0], now()));
	for (int i = 0; i < N; i++) {
		locks_found_busy(memory + i * 64);
		/* the one with which all begin anew */
		if (!locks_busy(memory + i * 64))
			locks_found_busy(memory + i * 64);
		CHECK(locks_busy(memory + i * 64));
		CHECK(i % 512 || busy_ones(memory, N) <= N / 7);
	}
	CHECK(locks_waited(&memory[0]));
	locks_leave(&w, now(), LOCK_END_GOT, &share);
	CHECK(!locks_waited(&memory[0]));
	locks_all_busy();
	CHECK_INT(busy_ones(memory, N), N);
	locks_found_busy(&memory[0]);
	CHECK_INT(busy_ones(memory, N), N);
}

/* Waiters and unlockers of a few locks in the same few slots, as fast as they can. */
enum { THREADS = 8, TURNS = 20000, LOCKS = 5 };
static _Atomic uint64_t waited, booked, waits, booked_waits, turns;
static _Atomic int endless;

static void *storm(void *arg)
{
	for (int i = 0; endless || i < TURNS; i++, turns++) {
		const void *lock = &locks[random_below(LOCKS)];
		struct lock_wait w = { 0 };
		struct lock_share share;
		uint64_t start, end;

		if (random_below(2)) {
			unlock_by(lock, alice, &share);
		} else {
			start = now();
			if (!locks_join(&w, lock, start))
				continue;
			end = now();
			locks_leave(&w, end, random_below(4) ? LOCK_END_GOT : LOCK_END_GAVE_UP, &share);
			atomic_fetch_add(&waited, end - start);
			atomic_fetch_add(&waits, 1);
		}
		atomic_fetch_add(&booked, (uint64_t)share.ns);
		atomic_fetch_add(&booked_waits, share.waits);
	}
	return NULL;
}

static void storm_of(int n, void (*meanwhile)(pthread_t first))
{
	uint64_t full = stat_read(STAT_LOCKS_FULL);
	pthread_t threads[THREADS];
	struct lock_share share;

	waited = booked = waits = booked_waits = 0;
	for (int i = 0; i < n; i++)
		CHECK(pthread_create(&threads[i], NULL, storm, NULL) == 0);
	if (meanwhile)
		meanwhile(threads[0]);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < LOCKS; i++) {
		unlock_by(&locks[i], alice, &share);
		booked += (uint64_t)share.ns;
		booked_waits += share.waits;
		CHECK(!locks_waited(&locks[i]));
	}
	CHECK(waits > 0);
	CHECK_INT(booked_waits, waits);
	CHECK_INT(booked, waited);
	CHECK_INT(stat_read(STAT_LOCKS_FULL), full);
}

TEST(nothing_is_lost_or_counted_twice_in_a_storm)
{
	storm_of(THREADS, NULL);
}

/* Who gets the lock and who freed it come to the table at the same moment; then nobody comes any more. */
enum { MEETINGS = 30000, MET = 512 };
static char met[MET][64];
static _Atomic int may_free, freed, gone;

static void *frees(void *arg)
{
	for (int i = 1; i <= MEETINGS; i++) {
		struct locks_unlock unlock;
		struct lock_share share;
		bool seen;

		while (may_free != i)
			sched_yield();
		seen = locks_unlock_begins(&unlock, met[i % MET]);
		CHECK(seen);
		freed = i;
		for (volatile uint32_t turns = random_below(60); turns; turns--)
			;
		locks_unlock_ends(&unlock, met[i % MET], alice, &share);
		booked += (uint64_t)share.ns;
		booked_waits += share.waits;
		while (gone != i)
			sched_yield();
	}
	return NULL;
}

TEST(nothing_is_left_behind_where_a_waiter_and_an_unlocker_meet)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, frees, NULL) == 0);
	for (int i = 1; i <= MEETINGS; i++) {
		struct lock_wait w = { 0 };
		struct lock_share share;
		uint64_t start = now(), end;

		CHECK(locks_join(&w, met[i % MET], start));
		may_free = i;
		while (freed != i)
			sched_yield();
		for (volatile uint32_t turns = random_below(60); turns; turns--)
			;
		end = now();
		locks_leave(&w, end, LOCK_END_GOT, &share);
		CHECK(!share.waits || share.unlocker == alice);
		waited += end - start;
		booked += (uint64_t)share.ns;
		booked_waits += share.waits;
		gone = i;
	}
	pthread_join(thread, NULL);
	CHECK_INT(booked_waits, MEETINGS);
	CHECK_INT(booked, waited);
	for (int i = 0; i < MET; i++)
		CHECK(!locks_waited(met[i]));
}

/* A thread is stopped at any instruction until the others have done a thousand turns without it. */
static _Atomic int stops;

static void stopped(int signal)
{
	uint64_t until = turns + 1000, give_up = now() + 20000000000u;

	while (turns < until && now() < give_up)
		sched_yield();
	CHECK(now() < give_up);
	stops++;
}

static void stop_often(pthread_t thread)
{
	for (int i = 0; i < 60; i++) {
		int before = stops;

		pthread_kill(thread, SIGUSR1);
		while (stops == before)
			sys_sleep_ns(50000);
	}
	endless = 0;
}

TEST(a_thread_that_stands_still_in_the_table_keeps_nobody_up)
{
	struct sigaction act = { .sa_handler = stopped };

	sigaction(SIGUSR1, &act, NULL);
	endless = 1;
	storm_of(THREADS / 2, stop_often);
	CHECK(stops == 60);
}
