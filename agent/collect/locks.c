/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: an entry per lock that is waited for, in a chain per hash slot; an entry without waiters is
 * free for the next lock of its slot, and none is ever given back, so chains may be read without the
 * slot's lock. Of k waiters the entry knows k and the sum of the times since when each has
 * waited unbooked: their lost time is k * now - sum, and closing a segment sets the sum to k * now.
 *
 * The clock is read under the slot's lock: whoever is in the sum began earlier than that.
 *
 * A slot's lock is held for some 50 ns with the guard up. In a child that was made without fork handlers
 * (_Fork, clone) its holder may not exist: so nobody waits for one for ever.
 */
#include "agent/base/attr.h"
#include "agent/collect/locks.h"

#include <stddef.h>

#include "agent/base/arena.h"
#include "agent/base/spin.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"

enum {
	SPINS = 200,
	SLEEP_NS = 50000,
	SLEEPS_SHORT = 20,    /* 1 ms: give the event up */
	SLEEPS_LONG = 20000,  /* 1 s: a waiter must get out of the books */
	WAITERS_MAX = 60000,  /* a slot's filter must not wrap */
};

struct lock_entry {
	struct lock_entry *next; /* constant */
	_Atomic uintptr_t lock;
	_Atomic uint32_t waiters; /* those in `sum_ns` */
	uint32_t debts;		  /* waits that ended without the lock and wait for an unlock to be booked */
	uint64_t sum_ns;	  /* modulo 2^64 */
	uint64_t closed_ns;	  /* end of the last segment, 0: none since the entry was taken */
	uint64_t debt_ns;
	struct bucket *unlocker; /* who closed it */
};

struct slot {
	struct spin lock; /* of the chain's entries */
	_Atomic(struct lock_entry *) first;
};

_Atomic uint16_t locks_filter[LOCKS_SLOTS] BIG;

static struct {
	struct arena arena;
	_Atomic bool used;
	uint32_t round; /* number of forks behind us */
} self;

/* apart from what is initialised: 64 KiB that cost nothing until they are touched */
static struct slot slots[LOCKS_SLOTS] BIG;

static bool slot_lock(struct slot *slot, int sleeps)
{
	for (int i = 0; i < SPINS; i++) {
		if (spin_try(&slot->lock))
			return true;
		arch_relax();
	}
	for (int i = 0; i < sleeps; i++) {
		sys_sleep_ns(SLEEP_NS);
		if (spin_try(&slot->lock))
			return true;
	}
	stat_add(STAT_LOCKS_BUSY, 1);
	return false;
}

static bool in_use(const struct lock_entry *e)
{
	return atomic_load_explicit(&e->waiters, memory_order_relaxed) || e->debts;
}

/* What others may add up to is not exact while they do; it is only asked whether it is 0. */
static void filter_add(uint32_t slot, int n)
{
	atomic_fetch_add_explicit(&locks_filter[slot], (uint16_t)n, memory_order_relaxed);
}

static struct lock_entry *find(struct slot *slot, const void *lock)
{
	struct lock_entry *e = atomic_load_explicit(&slot->first, memory_order_acquire);

	for (; e; e = e->next)
		if (atomic_load_explicit(&e->lock, memory_order_relaxed) == (uintptr_t)lock)
			break;
	return e;
}

bool locks_is_waited(const void *lock)
{
	return find(&slots[locks_slot(lock)], lock) != NULL;
}

/* The slot's lock is held. */
static struct lock_entry *take_entry(struct slot *slot, const void *lock)
{
	struct lock_entry *first = atomic_load_explicit(&slot->first, memory_order_relaxed);
	struct lock_entry *e = find(slot, lock);

	if (e)
		return e;
	for (e = first; e; e = e->next)
		if (!in_use(e))
			break;
	if (!e) {
		e = arena_alloc(&self.arena, sizeof(*e));
		if (!e)
			return NULL;
		e->next = first;
		atomic_store_explicit(&self.used, true, memory_order_relaxed);
		/* release: a reader that acquires it sees `next` */
		atomic_store_explicit(&slot->first, e, memory_order_release);
	}
	e->closed_ns = 0;
	e->unlocker = NULL;
	atomic_store_explicit(&e->lock, (uintptr_t)lock, memory_order_relaxed);
	return e;
}

/* Nobody is in it any more: its address may be another lock's tomorrow. */
static void drop_entry_if_empty(struct lock_entry *e)
{
	if (!in_use(e))
		atomic_store_explicit(&e->lock, 0, memory_order_relaxed);
}

bool locks_join(struct lock_wait *wait, const void *lock, uint64_t now_ns)
{
	uint32_t at = locks_slot(lock);
	struct slot *slot = &slots[at];
	struct lock_entry *e;

	if (!slot_lock(slot, SLEEPS_SHORT))
		return false;
	e = atomic_load_explicit(&locks_filter[at], memory_order_relaxed) < WAITERS_MAX ?
		    take_entry(slot, lock) :
		    NULL;
	if (!e) {
		spin_unlock(&slot->lock);
		stat_add(STAT_LOCKS_FULL, 1);
		return false;
	}
	atomic_fetch_add_explicit(&e->waiters, 1, memory_order_relaxed);
	e->sum_ns += now_ns;
	filter_add(at, 1);
	*wait = (struct lock_wait){ .entry = e, .since_ns = now_ns, .slot = at, .round = self.round };
	spin_unlock(&slot->lock);
	return true;
}

void locks_leave(struct lock_wait *wait, uint64_t now_ns, enum lock_end end, struct lock_share *out)
{
	struct slot *slot = &slots[wait->slot];
	struct lock_entry *e = wait->entry;
	uint64_t since;

	*out = (struct lock_share){ NULL, 0, 0 };
	wait->entry = NULL;
	if (wait->round != self.round || !slot_lock(slot, SLEEPS_LONG))
		return;
	since = e->closed_ns > wait->since_ns ? e->closed_ns : wait->since_ns;
	e->sum_ns -= since;
	atomic_fetch_sub_explicit(&e->waiters, 1, memory_order_relaxed);
	if (end == LOCK_END_GAVE_UP) {
		e->debt_ns += now_ns > since ? now_ns - since : 0;
		/* the filter leads the next unlock here, once */
		if (e->debts++)
			filter_add(wait->slot, -1);
	} else {
		filter_add(wait->slot, -1);
		if (end == LOCK_END_GOT) {
			out->ns = now_ns > since ? now_ns - since : 0;
			out->waits = 1;
			out->unlocker = e->unlocker;
		}
		drop_entry_if_empty(e);
	}
	spin_unlock(&slot->lock);
}

void locks_close(const void *lock, struct bucket *unlocker, struct lock_share *out)
{
	uint32_t at = locks_slot(lock);
	struct slot *slot = &slots[at];
	struct lock_entry *e;
	uint64_t now, waiters;

	*out = (struct lock_share){ unlocker, 0, 0 };
	if (!slot_lock(slot, SLEEPS_SHORT))
		return;
	e = find(slot, lock);
	if (e) {
		now = sys_clock_ns(CLOCK_MONOTONIC);
		waiters = atomic_load_explicit(&e->waiters, memory_order_relaxed);
		out->ns = waiters * now - e->sum_ns + e->debt_ns;
		out->waits = e->debts;
		e->sum_ns = waiters * now;
		e->closed_ns = now;
		e->unlocker = unlocker;
		if (e->debts)
			filter_add(at, -1);
		e->debts = 0;
		e->debt_ns = 0;
		drop_entry_if_empty(e);
	}
	spin_unlock(&slot->lock);
}

bool locks_hold(uint32_t slot)
{
	if (atomic_load_explicit(&locks_filter[slot], memory_order_relaxed) >= WAITERS_MAX)
		return false;
	atomic_store_explicit(&self.used, true, memory_order_relaxed);
	filter_add(slot, 1);
	return true;
}

void locks_unhold(uint32_t slot)
{
	filter_add(slot, -1);
}

void locks_child(void)
{
	self.round++;
	if (!atomic_load(&self.used))
		return;
	for (uint32_t i = 0; i < LOCKS_SLOTS; i++) {
		struct lock_entry *e = atomic_load_explicit(&slots[i].first, memory_order_relaxed);

		if (atomic_load_explicit(&locks_filter[i], memory_order_relaxed))
			atomic_store_explicit(&locks_filter[i], 0, memory_order_relaxed);
		if (!e)
			continue;
		spin_reset(&slots[i].lock);
		for (; e; e = e->next) {
			atomic_store_explicit(&e->lock, 0, memory_order_relaxed);
			atomic_store_explicit(&e->waiters, 0, memory_order_relaxed);
			e->sum_ns = e->closed_ns = e->debt_ns = 0;
			e->debts = 0;
		}
	}
}
