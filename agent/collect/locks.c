/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: an entry per lock that is waited for, in a chain per hash slot; an entry without waiters is
 * free for the next lock of its slot, and none is ever given back. Of k waiters the entry knows k and the
 * sum of the times since when each has waited unbooked: their lost time is k * now - sum, and closing a
 * segment sets the sum to k * now. Each wait enters with its begin and goes with its end, so that what is
 * booked adds up to the nanosecond, in whatever order threads come.
 *
 * Nobody ever waits here: what an entry says lies in a record that is never written while the entry
 * points to it. A change is a new record, put in the place of the one that it was made from by a
 * compare-and-swap; the old one then goes to the slot's list of spare ones. Words that point to records
 * carry a tag that counts their changes: so a record that came back to the place where it was is not taken
 * for the one that was read. A thread that loses its processor here, or dies, keeps nobody up.
 *
 * Two threads that come to a lock at once may make two entries for it: an unlock closes both.
 *
 * An unlock closes its segment while it has the lock, so that segments are in the order of unlocks, and says
 * who it was when it has not. A waiter that finds the last unlocker without a name leaves the rest of its wait as a
 * debt; whoever is the last to say his name takes what was left. What is left and what is taken are changes
 * of the same record, so nothing is left behind.
 */
#include "agent/collect/locks.h"

#include <stddef.h>

#include "agent/base/arena.h"
#include "agent/base/attr.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"

enum {
	WAITERS_MAX = 30000, /* a slot's filter must not wrap */
	BUSY_MAX = LOCKS_SLOTS / 8,
	RECORDS = 64,	     /* in a block */
	BLOCKS = 16384,
};

/* What an entry says. */
struct view {
	uintptr_t lock;	   /* 0: the entry is free */
	uint64_t sum_ns;   /* modulo 2^64 */
	uint64_t closed_ns; /* end of the last segment */
	uint64_t debt_ns;
	struct bucket *unlocker; /* who closed it; NULL: none since the entry was taken, or he has no name yet */
	uint32_t waiters;	 /* those in `sum_ns` */
	uint32_t debts;		 /* waits that ended, and are booked by an unlock */
	uint32_t closes;	 /* segments, modulo 2^32 */
	uint32_t unlocks;	 /* that have not said who they are; times 2, plus 1 if the last one has not */
	uint32_t life;		 /* how often the entry was taken, modulo 2^32 */
};
enum { UNNAMED = 1, UNLOCK = 2 };

struct record {
	_Atomic uintptr_t lock;
	_Atomic uint64_t sum_ns, closed_ns, debt_ns;
	_Atomic(struct bucket *) unlocker;
	_Atomic uint32_t waiters, debts, closes, unlocks, life;
	_Atomic uint32_t next; /* in the list of spare ones */
};

struct lock_entry {
	struct lock_entry *next; /* constant */
	_Atomic uint64_t word;
};

struct slot {
	_Atomic(struct lock_entry *) first;
	_Atomic uint64_t spare; /* a word; record 0: none */
};

_Atomic uint16_t locks_filter[LOCKS_SLOTS] BIG;

static struct {
	struct arena arena;
	_Atomic bool used;
	_Atomic uint32_t made; /* records; number 0 is nobody's */
	_Atomic uint32_t busy; /* slots found busy since all began anew */
	uint32_t round;	       /* number of forks behind us */
} self;

/* apart from what is initialised: they cost nothing until they are touched */
static struct slot slots[LOCKS_SLOTS] BIG;
static _Atomic(struct record *) blocks[BLOCKS] BIG;

/* ---- records */

static uint64_t word_after(uint64_t word, uint32_t record)
{
	return ((word >> 32) + 1) << 32 | record;
}

static struct record *record_at(uint32_t number)
{
	return atomic_load_explicit(&blocks[number / RECORDS], memory_order_acquire) + number % RECORDS;
}

static COLD uint32_t record_make(void)
{
	uint32_t made = atomic_load_explicit(&self.made, memory_order_relaxed), number;

	do {
		struct record *block = NULL, *fresh;

		number = made + 1;
		if (number / RECORDS >= BLOCKS)
			return 0;
		if (!atomic_load_explicit(&blocks[number / RECORDS], memory_order_acquire)) {
			fresh = arena_alloc(&self.arena, RECORDS * sizeof(*fresh));
			if (!fresh)
				return 0;
			atomic_compare_exchange_strong(&blocks[number / RECORDS], &block, fresh);
		}
	} while (!atomic_compare_exchange_weak_explicit(&self.made, &made, number, memory_order_relaxed,
							memory_order_relaxed));
	return number;
}

/* A record of the caller's own, 0: there is no memory. */
static uint32_t record_get(struct slot *slot)
{
	uint64_t word = atomic_load_explicit(&slot->spare, memory_order_acquire);
	uint32_t next;

	do {
		if (!(uint32_t)word)
			return record_make();
		/* of a record that another thread got meanwhile it is not what it was: the tag tells */
		next = atomic_load_explicit(&record_at((uint32_t)word)->next, memory_order_relaxed);
	} while (!atomic_compare_exchange_weak_explicit(&slot->spare, &word, word_after(word, next),
							memory_order_acq_rel, memory_order_acquire));
	return (uint32_t)word;
}

static void record_put(struct slot *slot, uint32_t number)
{
	uint64_t word = atomic_load_explicit(&slot->spare, memory_order_relaxed);

	do
		atomic_store_explicit(&record_at(number)->next, (uint32_t)word, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&slot->spare, &word, word_after(word, number),
						      memory_order_acq_rel, memory_order_relaxed));
}

static void record_write(struct record *r, const struct view *v)
{
	/* whoever still reads it as what it was sees one of these and then, behind his own fence, that
	 * its entry has gone on */
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&r->lock, v->lock, memory_order_relaxed);
	atomic_store_explicit(&r->sum_ns, v->sum_ns, memory_order_relaxed);
	atomic_store_explicit(&r->closed_ns, v->closed_ns, memory_order_relaxed);
	atomic_store_explicit(&r->debt_ns, v->debt_ns, memory_order_relaxed);
	atomic_store_explicit(&r->unlocker, v->unlocker, memory_order_relaxed);
	atomic_store_explicit(&r->waiters, v->waiters, memory_order_relaxed);
	atomic_store_explicit(&r->debts, v->debts, memory_order_relaxed);
	atomic_store_explicit(&r->closes, v->closes, memory_order_relaxed);
	atomic_store_explicit(&r->unlocks, v->unlocks, memory_order_relaxed);
	atomic_store_explicit(&r->life, v->life, memory_order_relaxed);
}

/* ---- entries */

/* What the entry says now; the word is for `replace`. */
static uint64_t look(const struct lock_entry *e, struct view *out)
{
	uint64_t word, before;

	word = atomic_load_explicit(&e->word, memory_order_acquire);
	do {
		const struct record *r = record_at((uint32_t)word);

		before = word;
		out->lock = atomic_load_explicit(&r->lock, memory_order_relaxed);
		out->sum_ns = atomic_load_explicit(&r->sum_ns, memory_order_relaxed);
		out->closed_ns = atomic_load_explicit(&r->closed_ns, memory_order_relaxed);
		out->debt_ns = atomic_load_explicit(&r->debt_ns, memory_order_relaxed);
		out->unlocker = atomic_load_explicit(&r->unlocker, memory_order_relaxed);
		out->waiters = atomic_load_explicit(&r->waiters, memory_order_relaxed);
		out->debts = atomic_load_explicit(&r->debts, memory_order_relaxed);
		out->closes = atomic_load_explicit(&r->closes, memory_order_relaxed);
		out->unlocks = atomic_load_explicit(&r->unlocks, memory_order_relaxed);
		out->life = atomic_load_explicit(&r->life, memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
		word = atomic_load_explicit(&e->word, memory_order_acquire);
	} while (word != before);
	return word;
}

/* The entry says *v from now on, unless it has changed since `word`; then the record that was there
 * is the caller's, in exchange for the one that was in *inout_own. */
static bool replace(struct lock_entry *e, uint64_t word, const struct view *v, uint32_t *inout_own)
{
	uint32_t old = (uint32_t)word;

	record_write(record_at(*inout_own), v);
	if (!atomic_compare_exchange_strong_explicit(&e->word, &word, word_after(word, *inout_own),
						     memory_order_acq_rel, memory_order_relaxed))
		return false;
	*inout_own = old;
	return true;
}

static struct lock_entry *first_of(struct slot *slot)
{
	return atomic_load_explicit(&slot->first, memory_order_acquire);
}

static COLD struct lock_entry *entry_make(struct slot *slot)
{
	struct lock_entry *e = arena_alloc(&self.arena, sizeof(*e));
	uint32_t record = e ? record_get(slot) : 0;

	if (!record)
		return NULL;
	record_write(record_at(record), &(struct view){ 0 });
	atomic_store_explicit(&e->word, record, memory_order_relaxed);
	e->next = first_of(slot);
	/* release: a reader that acquires it sees `next` and the record */
	while (!atomic_compare_exchange_weak_explicit(&slot->first, &e->next, e, memory_order_release,
						      memory_order_acquire))
		;
	atomic_store_explicit(&self.used, true, memory_order_relaxed);
	return e;
}

/* The lock's entry, or else a free one; NULL: there is no memory. */
static struct lock_entry *entry_for(struct slot *slot, const void *lock, struct view *out_view,
				    uint64_t *out_word)
{
	struct lock_entry *found = NULL;

	for (struct lock_entry *e = first_of(slot); e; e = e->next) {
		struct view v;
		uint64_t word = look(e, &v);

		if (v.lock ? v.lock != (uintptr_t)lock : found != NULL)
			continue;
		found = e;
		*out_view = v;
		*out_word = word;
		if (v.lock)
			break;
	}
	if (!found) {
		found = entry_make(slot);
		if (found)
			*out_word = look(found, out_view);
	}
	return found;
}

/* ---- the filter */

void locks_found_busy(const void *lock)
{
	if (locks_busy(lock))
		return;
	atomic_fetch_or_explicit(&locks_filter[locks_slot(lock)], LOCKS_BUSY, memory_order_relaxed);
	if (atomic_fetch_add_explicit(&self.busy, 1, memory_order_relaxed) < BUSY_MAX)
		return;
	atomic_store_explicit(&self.busy, 0, memory_order_relaxed);
	for (uint32_t i = 0; i < LOCKS_SLOTS; i++)
		if (atomic_load_explicit(&locks_filter[i], memory_order_relaxed) & LOCKS_BUSY)
			atomic_fetch_and_explicit(&locks_filter[i], (uint16_t)~LOCKS_BUSY,
						  memory_order_relaxed);
}

void locks_all_busy(void)
{
	for (uint32_t i = 0; i < LOCKS_SLOTS; i++)
		atomic_fetch_or_explicit(&locks_filter[i], LOCKS_BUSY, memory_order_relaxed);
}

/* What others may add up to is not exact while they do; it is only asked whether it is 0. */
static void filter_add(uint32_t slot, int n)
{
	atomic_fetch_add_explicit(&locks_filter[slot], (uint16_t)(n * LOCKS_WAITER), memory_order_relaxed);
}

/* ---- waits */

bool locks_join(struct lock_wait *wait, const void *lock, uint64_t now_ns)
{
	uint32_t at = locks_slot(lock), own = 0;
	struct slot *slot = &slots[at];
	struct lock_entry *e = NULL;
	struct view v;
	uint64_t word;

	if (atomic_load_explicit(&locks_filter[at], memory_order_relaxed) < WAITERS_MAX * LOCKS_WAITER)
		own = record_get(slot);
	while (own && (e = entry_for(slot, lock, &v, &word))) {
		/* another lock's entry may be a new one by now, with any number of segments */
		if (v.lock != (uintptr_t)lock)
			v = (struct view){ .lock = (uintptr_t)lock, .closes = v.closes, .life = v.life + 1 };
		v.waiters++;
		v.sum_ns += now_ns;
		if (replace(e, word, &v, &own))
			break;
	}
	if (!e) {
		if (own)
			record_put(slot, own);
		stat_add(STAT_LOCKS_FULL, 1);
		return false;
	}
	filter_add(at, 1);
	*wait = (struct lock_wait){
		.entry = e,
		.since_ns = now_ns,
		.slot = at,
		.round = self.round,
		.closes = v.closes,
		.record = own,
	};
	return true;
}

void locks_leave(struct lock_wait *wait, uint64_t now_ns, enum lock_end end, struct lock_share *out)
{
	struct slot *slot = &slots[wait->slot];
	struct lock_entry *e = wait->entry;
	uint64_t since, word;
	struct view v;
	bool owed;

	*out = (struct lock_share){ NULL, 0, 0 };
	wait->entry = NULL;
	if (wait->round != self.round)
		return;
	do {
		word = look(e, &v);
		since = v.closes == wait->closes ? wait->since_ns : v.closed_ns;
		v.sum_ns -= since;
		v.waiters--;
		owed = end == LOCK_END_GAVE_UP || (end == LOCK_END_GOT && v.unlocks & UNNAMED);
		if (owed) {
			v.debt_ns += now_ns - since;
			v.debts++;
		}
		/* nobody is in it any more: its address may be another lock's tomorrow */
		if (!v.waiters && !v.debts)
			v.lock = 0;
	} while (!replace(e, word, &v, &wait->record));
	record_put(slot, wait->record);
	/* a debt: the filter leads the next unlock here, once */
	if (!owed || v.debts > 1)
		filter_add(wait->slot, -1);
	if (end == LOCK_END_GOT && !owed)
		*out = (struct lock_share){ .unlocker = v.unlocker, .ns = (int64_t)(now_ns - since), .waits = 1 };
}

/* ---- unlocks */

static uint64_t take_debts(struct view *v, uint32_t *out_debts)
{
	uint64_t ns = v->debt_ns;

	*out_debts = v->debts;
	v->debt_ns = 0;
	v->debts = 0;
	return ns;
}

static void book_debts(struct slot *slot, uint32_t debts, struct lock_share *share)
{
	share->waits += debts;
	if (debts)
		filter_add((uint32_t)(slot - slots), -1);
}

/* Closes the segment of an entry of this lock for somebody without a name. false: it is another lock's by now, or
 * there is no memory. The record that the entry had is the caller's. */
static bool close_one(struct slot *slot, struct lock_entry *e, const void *lock, struct lock_share *inout,
		      struct view *out, uint32_t *out_record)
{
	uint32_t own = 0, debts;
	uint64_t word, now, lost;
	struct view v;

	do {
		word = look(e, &v);
		if (v.lock != (uintptr_t)lock)
			goto none;
		if (!own && !(own = record_get(slot))) {
			stat_add(STAT_LOCKS_FULL, 1);
			return false;
		}
		/* behind the look: whoever is in the sum began earlier than this */
		now = sys_clock_ns(CLOCK_MONOTONIC);
		lost = v.waiters * now - v.sum_ns;
		debts = 0;
		/* what was left to those before us is theirs */
		if (v.unlocks < UNLOCK)
			lost += take_debts(&v, &debts);
		v.sum_ns = v.waiters * now;
		v.closed_ns = now;
		v.unlocker = NULL;
		v.closes++;
		v.unlocks = (v.unlocks + UNLOCK) | UNNAMED;
		if (!v.waiters && !v.debts)
			v.lock = 0;
	} while (!replace(e, word, &v, &own));
	inout->ns += (int64_t)lost;
	book_debts(slot, debts, inout);
	*out = v;
	*out_record = own;
	return true;
none:
	if (own)
		record_put(slot, own);
	return false;
}

bool locks_unlock_begins(struct locks_unlock *unlock, const void *lock)
{
	struct slot *slot = &slots[locks_slot(lock)];
	bool seen = false;
	uint32_t record;
	struct view v;

	unlock->n = 0;
	unlock->share = (struct lock_share){ NULL, 0, 0 };
	unlock->round = self.round;
	for (struct lock_entry *e = first_of(slot); e && unlock->n < LOCKS_TWINS; e = e->next) {
		if (!close_one(slot, e, lock, &unlock->share, &v, &record))
			continue;
		seen = true;
		if (v.lock)
			unlock->of[unlock->n++] = (struct locks_closed){ e, v.closes, v.life, record };
		else
			record_put(slot, record);
	}
	return seen;
}

static void say_who(struct slot *slot, const struct locks_closed *closed, const void *lock, struct lock_share *inout)
{
	struct lock_entry *e = closed->entry;
	uint32_t own = closed->record, debts;
	uint64_t word, lost;
	struct view v;

	do {
		word = look(e, &v);
		/* all who knew us have gone, and the entry was free */
		if (v.lock != (uintptr_t)lock || v.life != closed->life)
			break;
		lost = debts = 0;
		v.unlocks -= UNLOCK;
		if (v.closes == closed->closes) {
			v.unlocker = inout->unlocker;
			v.unlocks &= ~(uint32_t)UNNAMED;
		}
		if (v.unlocks < UNLOCK)
			lost = take_debts(&v, &debts);
		if (!v.waiters && !v.debts)
			v.lock = 0;
		if (replace(e, word, &v, &own)) {
			inout->ns += (int64_t)lost;
			book_debts(slot, debts, inout);
			break;
		}
	} while (true);
	record_put(slot, own);
}

void locks_unlock_ends(const struct locks_unlock *unlock, const void *lock, struct bucket *unlocker,
		       struct lock_share *out)
{
	struct slot *slot = &slots[locks_slot(lock)];

	*out = (struct lock_share){ unlocker, 0, 0 };
	if (unlock->round != self.round)
		return;
	*out = (struct lock_share){ unlocker, unlock->share.ns, unlock->share.waits };
	for (unsigned i = 0; i < unlock->n; i++)
		say_who(slot, &unlock->of[i], lock, out);
}

bool locks_hold(uint32_t slot)
{
	if (atomic_load_explicit(&locks_filter[slot], memory_order_relaxed) >= WAITERS_MAX * LOCKS_WAITER)
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
		struct lock_entry *e = first_of(&slots[i]);

		if (atomic_load_explicit(&locks_filter[i], memory_order_relaxed) >= LOCKS_WAITER)
			atomic_fetch_and_explicit(&locks_filter[i], LOCKS_BUSY, memory_order_relaxed);
		for (; e; e = e->next)
			record_write(record_at((uint32_t)e->word), &(struct view){ 0 });
	}
}
