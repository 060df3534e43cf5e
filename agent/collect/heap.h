/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap profiler: which allocations are sampled, what is known of them, and what follows from
 * that. Sampling is by bytes: each thread draws the distance to its next sampled byte from an
 * exponential distribution, so that a block's chance depends on its size alone (collect/weight.h).
 *
 * What is counted where: a bucket of SERIES_HEAP stands for (stack, size class). Totals of all
 * allocations only rise; what is in use rises and falls by exactly the same amounts. `extra` of a
 * bucket keeps what was in use at the last peak of the whole process, saved at the bucket's first
 * change after it: so a peak costs O(1) per sample, and every spike is caught.
 *
 * A forked child goes on with its parent's numbers: it inherited the memory that they speak of.
 */
#ifndef COLLECT_HEAP_H
#define COLLECT_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/attr.h"
#include "agent/base/tls.h"
#include "agent/collect/livemap.h"
#include "countdown.h"

struct bucket;

/* rate: mean distance in bytes between samples; 1: every allocation, 0: off. Until this is called
 * nothing is sampled, and each allocation asks anew. labels: count per thread. Context: init. */
void heap_start(uint64_t rate, bool labels);

/* Context: child. */
void heap_child(void);

/* The whole cost of an allocation that is not sampled. True: ask heap_draw before the real call.
 * Unsigned, so that absurd sizes cannot turn the countdown back. Context: hook. */
static inline bool heap_due(size_t size)
{
	bool due;

	ARCH_COUNT_DOWN(tls.heap_left, size, due);
	return due;
}

/* Draws the next distance. HEAP_SKIP: this allocation is not sampled after all; else hand the result
 * to heap_on_alloc. Context: hook. */
enum { HEAP_SKIP = -1 };
int heap_draw(size_t size);

/* This thread's next allocation calls heap_draw, whatever its size, and is not sampled for that.
 * Context: hook, child. */
static inline void heap_ask_again(void)
{
	tls.heap_left = 0;
	tls.heap_epoch = 0;
}

/* The real function returned ptr (may be NULL). errno is not touched. Context: hook. */
void heap_on_alloc(const void *ptr, size_t size, int draw);

/* Before the real free or realloc of a block for which livemap_maybe() is true: takes its sample
 * out of the map. heap_freed books it as freed, heap_restore puts it back (a realloc that failed).
 * Context: hook. */
static inline bool heap_take(const void *ptr, struct live *out)
{
	return livemap_take((uintptr_t)ptr, out);
}
void heap_freed(const struct live *sample);
void heap_restore(const struct live *sample);

/* --- reading; Context: agent --- */

struct heap_values {
	int64_t alloc_objects, alloc_bytes; /* since start */
	int64_t live_objects, live_bytes;
	int64_t peak_objects, peak_bytes; /* at the last peak of all live bytes */
};

/* Estimates of a bucket of SERIES_HEAP, rounded. */
void heap_read(const struct bucket *bucket, struct heap_values *out);

/* One live sample's share: to be summed per bucket before rounding. In the bucket's own units. */
struct heap_share {
	int64_t objects, bytes;
};
void heap_share_of(const struct live *sample, struct heap_share *out);
/* Turns summed shares of a bucket into objects and bytes. */
void heap_share_round(const struct bucket *bucket, struct heap_share *inout);

struct heap_state {
	uint64_t base_rate;	/* as started, 0: off */
	uint64_t rate;		/* now */
	uint64_t samples;	/* taken by this process */
	int64_t live_bytes;	/* estimate of all */
	int64_t peak_bytes;	/* its highest value */
	uint64_t peak_mono_ns;	/* when that was, CLOCK_MONOTONIC; 0: never */
};
void heap_state(struct heap_state *out);

#endif
