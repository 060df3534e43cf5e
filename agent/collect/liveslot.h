/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One place of the live map, half a cache line, and how threads share it without a lock.
 *
 * `key` is LIVESLOT_FREE, LIVESLOT_CLAIMED (being filled), or the address. `meta` holds the bucket,
 * the epoch, LIVE, and a tag that changes at each use. Whoever clears LIVE by compare-and-swap owns
 * the slot's end, and alone sets key back to free.
 *
 * Only collect/livemap.c includes this: all inline, because an insertion and a take are one miss of
 * the cache and little else.
 */
#ifndef COLLECT_LIVESLOT_H
#define COLLECT_LIVESLOT_H

#include <stdatomic.h>

#include "agent/collect/livemap.h"

struct liveslot {
	_Atomic uintptr_t key;
	_Atomic uint64_t meta;
	_Atomic uint64_t size;
	_Atomic uint64_t birth;
};

/* Keys that are no address. */
enum { LIVESLOT_FREE = 0, LIVESLOT_CLAIMED = 1 };

/* meta: bits 0..47 bucket (aligned to 16, so that bit 0 is LIVE), 48..53 epoch, 54..63 tag */
enum { LIVESLOT_EPOCH_SHIFT = 48 };
#define LIVESLOT_LIVE	((uint64_t)1)
#define LIVESLOT_BUCKET ((((uint64_t)1 << LIVESLOT_EPOCH_SHIFT) - 1) & ~(uint64_t)15)
#define LIVESLOT_EPOCH	((uint64_t)(LIVE_EPOCHS - 1) << LIVESLOT_EPOCH_SHIFT)
#define LIVESLOT_TAG	((uint64_t)1 << 54)

/* Context: signal, hook, agent. */
static inline uintptr_t liveslot_key(const struct liveslot *s)
{
	return atomic_load_explicit(&s->key, memory_order_acquire);
}

/* Everything but the address, of a slot whose address is the caller's. False when nothing is in
 * use there. What comes out belongs together: one use, one epoch. Context: signal, hook, agent. */
static inline bool liveslot_read(const struct liveslot *s, struct live *out, uint64_t *out_meta)
{
	uint64_t meta;

	do {
		meta = atomic_load_explicit(&s->meta, memory_order_acquire);
		if (!(meta & LIVESLOT_LIVE))
			return false;
		out->size = atomic_load_explicit(&s->size, memory_order_relaxed);
		out->birth = atomic_load_explicit(&s->birth, memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
	} while (atomic_load_explicit(&s->meta, memory_order_relaxed) != meta);
	out->bucket = (struct bucket *)(uintptr_t)(meta & LIVESLOT_BUCKET);
	out->epoch = (unsigned)(meta >> LIVESLOT_EPOCH_SHIFT) & (LIVE_EPOCHS - 1);
	*out_meta = meta;
	return true;
}

/* The same, and the address, for a slot that may be somebody else's. Context: hook, agent. */
static inline bool liveslot_peek(const struct liveslot *s, struct live *out, uint64_t *out_meta)
{
	out->address = liveslot_key(s);
	return out->address > LIVESLOT_CLAIMED && liveslot_read(s, out, out_meta) &&
	       liveslot_key(s) == out->address;
}

/* Puts the entry in; without a bucket it makes a pin: an address that nobody can take. False when
 * the slot is not free. Context: hook. */
static inline bool liveslot_fill(struct liveslot *s, const struct live *entry)
{
	uintptr_t expected = LIVESLOT_FREE;
	uint64_t meta;

	if (atomic_load_explicit(&s->key, memory_order_relaxed) != LIVESLOT_FREE ||
	    !atomic_compare_exchange_strong_explicit(&s->key, &expected, LIVESLOT_CLAIMED,
						     memory_order_acquire, memory_order_relaxed))
		return false;
	atomic_store_explicit(&s->size, entry->size, memory_order_relaxed);
	atomic_store_explicit(&s->birth, entry->birth, memory_order_relaxed);
	meta = atomic_load_explicit(&s->meta, memory_order_relaxed) & ~(LIVESLOT_TAG - 1);
	meta += LIVESLOT_TAG;
	if (entry->bucket)
		meta |= LIVESLOT_LIVE | (uint64_t)entry->epoch << LIVESLOT_EPOCH_SHIFT |
			(uintptr_t)entry->bucket;
	atomic_store_explicit(&s->meta, meta, memory_order_release);
	atomic_store_explicit(&s->key, entry->address, memory_order_release);
	return true;
}

/* Clears LIVE; false when the slot is no longer as it was when `meta` was read: someone else ended
 * this use, or rewrote its epoch. Context: signal, hook. */
static inline bool liveslot_end(struct liveslot *s, uint64_t meta)
{
	if (!atomic_compare_exchange_strong_explicit(&s->meta, &meta, meta & ~LIVESLOT_LIVE,
						     memory_order_acq_rel, memory_order_relaxed))
		return false;
	atomic_store_explicit(&s->key, LIVESLOT_FREE, memory_order_release);
	return true;
}

/* The entry as it was when `meta` was read gets this epoch; false as above. Context: hook. */
static inline bool liveslot_set_epoch(struct liveslot *s, uint64_t meta, unsigned epoch)
{
	uint64_t changed = (meta & ~LIVESLOT_EPOCH) | (uint64_t)epoch << LIVESLOT_EPOCH_SHIFT;

	return atomic_compare_exchange_strong_explicit(&s->meta, &meta, changed,
						       memory_order_acq_rel, memory_order_relaxed);
}

#endif
