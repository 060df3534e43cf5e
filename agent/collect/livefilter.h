/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The question that every free asks: may this block be a sampled one? One bit of a table that stays
 * in the L1 cache, 8 KiB until the map behind it (collect/livemap.h) has grown. A false yes costs a
 * look into the map; a no is certain.
 *
 * The filter belongs to the map and knows nothing of its entries: where it must know whether a bit
 * is still needed, or which bits a new filter begins with, the map hands it a function that tells.
 */
#ifndef COLLECT_LIVEFILTER_H
#define COLLECT_LIVEFILTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A word holds 32 filter bits below and the number of its insertions above: a bit is cleared only
 * by a compare-and-swap that sees that nothing was inserted meanwhile. */
struct live_filter {
	_Atomic uint32_t mask; /* number of words - 1; read through a pointer that was not acquired */
	/* while it is being filled: how many steps there are, were begun, were ended */
	uint64_t total;
	_Atomic uint64_t begun, ended;
	_Atomic uint64_t word[];
};
extern _Atomic(struct live_filter *) livefilter __attribute__((visibility("hidden")));

enum { LIVEFILTER_WORDS = 1024 }; /* of the first filter: 8 KiB, 32,768 bits */

/* Context: hook. */
static inline bool livefilter_maybe(uint32_t hash)
{
	const struct live_filter *f = atomic_load_explicit(&livefilter, memory_order_relaxed);
	const _Atomic uint64_t *word = f->word + (size_t)(hash >> 5 & atomic_load_explicit(&f->mask, memory_order_relaxed));

	return (uint32_t)atomic_load_explicit(word, memory_order_relaxed) >> (hash & 31) & 1;
}

/* From now on the answer is always yes, and nothing is kept up to date, until livefilter_grow.
 * Context: init. */
void livefilter_open(void);
bool livefilter_is_open(void);

/* Words of the newest filter; its positions are the low bits of the hash, 32 for each word.
 * Context: hook. */
uint32_t livefilter_words(void);

/* After the entry is where a look-up finds it: livefilter_maybe is true for its hash. Context:
 * hook. */
void livefilter_add(uint32_t hash);

/* After an entry has gone: clears the bit unless needed(hash, position) finds another entry whose
 * hash has the same bits under the mask `position`. Context: signal, hook. */
typedef bool livefilter_needed(uint32_t hash, uint32_t position);
void livefilter_remove(uint32_t hash, livefilter_needed *needed);

/* Begins a filter of so many words. From then on each insertion calls livefilter_step, which hands
 * one of `steps` parts of the map to part(number, filter); that calls livefilter_put for each hash
 * in it. With the last one the new filter is in force. Nothing happens while another is being
 * filled or without memory. Old filters stay: some thread may be looking into them. Context: hook;
 * livefilter_restart: child, for what threads that are no more had begun. */
void livefilter_grow(uint32_t words, uint64_t steps);
bool livefilter_growing(void);
typedef void livefilter_part(uint64_t number, struct live_filter *filter);
void livefilter_step(livefilter_part *part);
void livefilter_put(struct live_filter *filter, uint32_t hash);
void livefilter_restart(void);

/* Bytes of memory beyond the first filter. Context: any. */
size_t livefilter_bytes(void);

#endif
