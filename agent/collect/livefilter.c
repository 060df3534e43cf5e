/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A filter is replaced by a bigger one in steps: `next` is published, and from then on insertions
 * go to both; what was there before is put in by whoever inserts, a part at a time; then `next`
 * becomes the filter. A thread that still looks into the old filter frees a block that was inserted
 * before it loaded the pointer: its bit is there. Old filters are therefore kept, never reused.
 */
#include "agent/collect/livefilter.h"

#include "agent/base/attr.h"
#include "agent/base/budget.h"

/* The first filter: its fixed part, then the words, as the struct lays them out. */
static uint64_t first[sizeof(struct live_filter) / 8 + LIVEFILTER_WORDS]
	__attribute__((section(".data.zz_big"))) = {LIVEFILTER_WORDS - 1};
/* One word, every bit set. */
static uint64_t all[sizeof(struct live_filter) / 8 + 1] = {
	[sizeof(struct live_filter) / 8] = UINT32_MAX,
};
_Static_assert(offsetof(struct live_filter, mask) == 0 && sizeof(struct live_filter) % 8 == 0,
	       "little-endian: the first 8 bytes hold the mask");

_Atomic(struct live_filter *) livefilter = (struct live_filter *)first;

static struct {
	_Atomic(struct live_filter *) next; /* being filled, or NULL */
	_Atomic size_t bytes;
} self;

static bool is_open(const struct live_filter *f)
{
	return f == (const struct live_filter *)all;
}

void livefilter_open(void)
{
	atomic_store(&livefilter, (struct live_filter *)all);
}

bool livefilter_is_open(void)
{
	return is_open(atomic_load_explicit(&livefilter, memory_order_acquire));
}

uint32_t livefilter_words(void)
{
	return atomic_load_explicit(&livefilter, memory_order_acquire)->mask + 1;
}

bool livefilter_growing(void)
{
	return atomic_load_explicit(&self.next, memory_order_acquire) != NULL;
}

size_t livefilter_bytes(void)
{
	return atomic_load_explicit(&self.bytes, memory_order_relaxed);
}

void livefilter_put(struct live_filter *f, uint32_t hash)
{
	_Atomic uint64_t *word = &f->word[(hash >> 5) & f->mask];
	uint64_t old = atomic_load_explicit(word, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(
		word, &old, (old | (uint64_t)1 << (hash & 31)) + ((uint64_t)1 << 32),
		memory_order_acq_rel, memory_order_relaxed))
		;
}

void livefilter_add(uint32_t hash)
{
	struct live_filter *f, *next;

	/* either livefilter_step's part sees our entry, or we see the filter that it fills */
	atomic_thread_fence(memory_order_seq_cst);
	do {
		f = atomic_load_explicit(&livefilter, memory_order_seq_cst);
		if (!is_open(f))
			livefilter_put(f, hash);
		next = atomic_load_explicit(&self.next, memory_order_seq_cst);
		if (next)
			livefilter_put(next, hash);
	} while (atomic_load_explicit(&livefilter, memory_order_seq_cst) != f);
}

/* An insertion changes the word after it made its entry, so a swap that succeeds proves that
 * `needed` saw everything. */
static void clear(struct live_filter *f, uint32_t hash, livefilter_needed *needed)
{
	_Atomic uint64_t *word = &f->word[(hash >> 5) & f->mask];
	uint64_t bit = (uint64_t)1 << (hash & 31);
	uint64_t old = atomic_load_explicit(word, memory_order_acquire);

	while (old & bit) {
		if (needed(hash, f->mask << 5 | 31))
			return;
		if (atomic_compare_exchange_weak_explicit(
			    word, &old, old & ~bit, memory_order_acq_rel, memory_order_acquire))
			return;
	}
}

void livefilter_remove(uint32_t hash, livefilter_needed *needed)
{
	struct live_filter *f = atomic_load_explicit(&livefilter, memory_order_acquire);
	struct live_filter *next = atomic_load_explicit(&self.next, memory_order_acquire);

	if (!is_open(f))
		clear(f, hash, needed);
	if (next)
		clear(next, hash, needed);
}

void livefilter_grow(uint32_t words, uint64_t steps)
{
	size_t size = sizeof(struct live_filter) + words * sizeof(uint64_t);
	struct live_filter *fresh;

	if (livefilter_growing() || !budget_can_keep(size))
		return;
	fresh = budget_map(size);
	if (!fresh)
		return;
	atomic_fetch_add_explicit(&self.bytes, size, memory_order_relaxed);
	fresh->mask = words - 1;
	fresh->total = steps;
	atomic_store_explicit(&self.next, fresh, memory_order_seq_cst);
}

/* The thread that ends the last part puts the filter in place. */
static NOINLINE void step(struct live_filter *next, livefilter_part *part)
{
	uint64_t at;

	if (atomic_load_explicit(&next->begun, memory_order_relaxed) >= next->total)
		return;
	at = atomic_fetch_add_explicit(&next->begun, 1, memory_order_acq_rel);
	if (at >= next->total)
		return;
	/* an insertion that did not see `next` has made its entry before we look */
	atomic_thread_fence(memory_order_seq_cst);
	part(at, next);
	if (atomic_fetch_add_explicit(&next->ended, 1, memory_order_acq_rel) + 1 == next->total) {
		atomic_store_explicit(&livefilter, next, memory_order_seq_cst);
		atomic_store_explicit(&self.next, NULL, memory_order_seq_cst);
	}
}

void livefilter_step(livefilter_part *part)
{
	struct live_filter *next = atomic_load_explicit(&self.next, memory_order_acquire);

	if (UNLIKELY(next))
		step(next, part);
}

void livefilter_restart(void)
{
	struct live_filter *next = atomic_load(&self.next);

	if (!next)
		return;
	if (next == atomic_load(&livefilter)) {
		atomic_store(&self.next, NULL);
		return;
	}
	/* a part that a vanished thread had begun would never end */
	atomic_store(&next->ended, 0);
	atomic_store(&next->begun, 0);
}
