/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order of things, for the promises in heap.h. An allocation: bucket first, then the map, then the
 * program has the pointer; so whatever a free finds has been added. A free: out of the map, out of
 * the bucket, then the real free; so the address cannot be met again before. What is in use is
 * added last and read first: a reader never sees more in use than allocated.
 *
 * The rate doubles when the map finds no room for a new sample and may not grow. Each rate has its
 * number (epoch); a sample's weight is that of the epoch in which its distance was drawn, and an old
 * sample that must make room survives with probability old weight / new weight and then counts the
 * new weight. Both leave every sum unbiased, so no sample need be rewritten before its room is
 * needed, and no hook ever walks more than one place of the map.
 */
#include "agent/collect/heap.h"

#include "agent/base/budget.h"
#include "agent/base/random.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/buckets.h"
#include "agent/collect/process.h"
#include "agent/collect/record.h"
#include "agent/collect/sizeclass.h"
#include "agent/collect/threads.h"
#include "agent/collect/weight.h"
#include "fenv.h"

enum { ALLOC_COUNT, ALLOC_BYTES, LIVE_COUNT, LIVE_BYTES };  /* bucket.value */
enum { PEAK_COUNT, PEAK_BYTES, PEAK_NUMBER };		    /* bucket.extra */
enum {
	EPOCH_LAST = 40, /* 2^40 times the rate is never needed */
	DOUBLINGS = 12,	 /* at most, for the sake of one sample */
	SPARSE_RATE = 256, /* from here on most blocks are not sampled, and a filter pays */
};

static struct {
	bool on;
	bool labels;
	uint64_t base_rate;
	_Atomic int epoch;
	_Atomic int64_t live;	    /* plain bytes in use */
	_Atomic int64_t peak;	    /* its highest value */
	_Atomic int64_t peak_number; /* counts peaks */
	_Atomic uint64_t peak_ns;
} self;

static uint64_t rate_of(unsigned epoch)
{
	return self.base_rate << epoch;
}

static struct weight sample_weight(const struct live *sample, unsigned epoch)
{
	return weight_of(sample->size, rate_of(epoch), self.base_rate);
}

void heap_start(uint64_t rate, bool labels)
{
	livemap_start(budget_limit() / 2, rate && rate < SPARSE_RATE);
	self.labels = labels;
	self.base_rate = rate;
	__atomic_store_n(&self.on, true, __ATOMIC_RELEASE);
}

void heap_child(void)
{
	livemap_child();
}

static void draw_distance(int epoch)
{
	uint64_t rate = rate_of((unsigned)epoch);

	tls.heap_epoch = (uint32_t)epoch + 1;
	/* 0: every allocation, those of 0 bytes too */
	tls.heap_left = rate > 1 ? random_exponential(rate) : 0;
}

/* A distance is drawn where none is: this thread's first allocation, or one that came here only to
 * start the agent. There is no bias in drawing anew: the distribution has no memory. */
static bool draw_first(int epoch, size_t size)
{
	draw_distance(epoch);
	return heap_due(size);
}

NOINLINE int heap_draw(size_t size)
{
	int drawn_in = (int)tls.heap_epoch - 1;
	int epoch = atomic_load_explicit(&self.epoch, memory_order_relaxed);
	bool due = true, pending;
	uint32_t fp;

	if (UNLIKELY(!__atomic_load_n(&self.on, __ATOMIC_ACQUIRE))) {
		tls.heap_left = 0; /* ask again: it may be on by then */
		return HEAP_SKIP;
	}
	pending = atomic_load_explicit(&process_pending, memory_order_relaxed) != PENDING_NONE;
	if (UNLIKELY(pending))
		process_poke();
	if (UNLIKELY(!self.base_rate)) {
		tls.heap_left = pending ? 0 : UINT64_MAX / 2;
		return HEAP_SKIP;
	}
	fp = arch_fp_enter();
	if (UNLIKELY(drawn_in < 0)) {
		drawn_in = epoch;
		due = draw_first(epoch, size);
	}
	if (due)
		draw_distance(epoch);
	arch_fp_leave(fp);
	if (UNLIKELY(pending))
		heap_ask_again();
	if (due && UNLIKELY(guard_is_up())) {
		if (!(tls.flags & TLS_AGENT))
			stat_add(STAT_HEAP_BUSY, 1);
		return HEAP_SKIP;
	}
	return due ? drawn_in : HEAP_SKIP;
}

/* The first change of a bucket after a peak keeps what it was at the peak. */
static void keep_peak(struct bucket *b)
{
	int64_t number = atomic_load_explicit(&self.peak_number, memory_order_relaxed);
	int64_t kept = atomic_load_explicit(&b->extra[PEAK_NUMBER], memory_order_relaxed);

	if (kept == number ||
	    !atomic_compare_exchange_strong_explicit(&b->extra[PEAK_NUMBER], &kept, number,
						     memory_order_relaxed, memory_order_relaxed))
		return;
	atomic_store_explicit(&b->extra[PEAK_COUNT],
			      atomic_load_explicit(&b->value[LIVE_COUNT], memory_order_relaxed),
			      memory_order_relaxed);
	atomic_store_explicit(&b->extra[PEAK_BYTES],
			      atomic_load_explicit(&b->value[LIVE_BYTES], memory_order_relaxed),
			      memory_order_relaxed);
}

static void add_live(struct bucket *b, int64_t count, int64_t bytes, int64_t plain, uint64_t now)
{
	int64_t live, peak;

	keep_peak(b);
	bucket_add(b, LIVE_COUNT, count);
	bucket_add(b, LIVE_BYTES, bytes);
	live = atomic_fetch_add_explicit(&self.live, plain, memory_order_relaxed) + plain;
	peak = atomic_load_explicit(&self.peak, memory_order_relaxed);
	if (!now || live <= peak)
		return;
	while (!atomic_compare_exchange_weak_explicit(&self.peak, &peak, live, memory_order_relaxed,
						      memory_order_relaxed))
		if (live <= peak)
			return;
	atomic_store_explicit(&self.peak_ns, now, memory_order_relaxed);
	atomic_fetch_add_explicit(&self.peak_number, 1, memory_order_relaxed);
}

/* livemap_thin's judge: what the sample's weight would be now decides whether it stays. */
static int thin_keep(const struct live *sample)
{
	unsigned epoch = (unsigned)atomic_load_explicit(&self.epoch, memory_order_relaxed);
	int64_t was, is;

	if (sample->epoch >= epoch)
		return (int)sample->epoch;
	was = sample_weight(sample, sample->epoch).count;
	is = sample_weight(sample, epoch).count;
	return random_below((uint64_t)is) < (uint64_t)was ? (int)epoch : -1;
}

static void thin_done(const struct live *sample, int verdict)
{
	struct weight was = sample_weight(sample, sample->epoch), is = { 0, 0, 0 };

	if (verdict >= 0)
		is = sample_weight(sample, (unsigned)verdict);
	add_live(sample->bucket, is.count - was.count, is.bytes - was.bytes, is.plain - was.plain, 0);
}

static void count_out(const struct live *sample)
{
	struct weight w = sample_weight(sample, sample->epoch);

	add_live(sample->bucket, -w.count, -w.bytes, -w.plain, 0);
}

/* Finds a place for a sample that is already counted in; without one it is counted out. */
static void keep_sample(const struct live *sample)
{
	int doubled = 0;

	while (!livemap_insert(sample)) {
		int epoch = atomic_load_explicit(&self.epoch, memory_order_relaxed);

		if (livemap_thin(sample->address, thin_keep, thin_done))
			continue;
		if (epoch >= EPOCH_LAST || doubled++ >= DOUBLINGS) {
			stat_add(STAT_HEAP_LIVE_FULL, 1);
			count_out(sample);
			return;
		}
		if (atomic_compare_exchange_strong_explicit(&self.epoch, &epoch, epoch + 1,
							    memory_order_relaxed,
							    memory_order_relaxed))
			stat_add(STAT_HEAP_RATE_DOUBLED, 1);
		if (rate_of((unsigned)epoch) * 2 >= SPARSE_RATE)
			livemap_sparse();
	}
}

/* Takes out what lies at the address of a new block: it was freed by a way that we do not see, a
 * plug-in's own libc for one (hazard B11). */
static void drop_stale(const void *ptr)
{
	struct live stale;

	if (!livemap_maybe(ptr) || !livemap_take((uintptr_t)ptr, &stale))
		return;
	stat_add(STAT_HEAP_STALE, 1);
	count_out(&stale);
}

static struct bucket *bucket_of(const struct stack *stack, uint32_t sizeclass)
{
	uint32_t tag = 0;
	struct bucket *b;

	if (self.labels && tls.thread)
		tag = atomic_load_explicit(&tls.thread->tag, memory_order_relaxed);
	b = buckets_get(SERIES_HEAP, stack, sizeclass, tag);
	/* no room for one more row: the sums must be right even so */
	return b ? b : buckets_get(SERIES_HEAP, record_mark(FRAME_OTHER), sizeclass, 0);
}

static NOINLINE void record(const void *ptr, size_t size, unsigned epoch, const struct unwind_regs *from)
{
	struct live sample = { .address = (uintptr_t)ptr, .size = size, .epoch = epoch };
	struct weight w = sample_weight(&sample, epoch);

	livemap_prefetch(sample.address);
	drop_stale(ptr);
	sample.bucket = bucket_of(record_from(from, NULL), sizeclass_of(size));
	if (!sample.bucket)
		return;
	stat_add(STAT_HEAP_SAMPLES, 1);
	sample.birth = sys_clock_ns(CLOCK_MONOTONIC_COARSE);
	bucket_add(sample.bucket, ALLOC_COUNT, w.count);
	bucket_add(sample.bucket, ALLOC_BYTES, w.bytes);
	add_live(sample.bucket, w.count, w.bytes, w.plain, sample.birth);
	keep_sample(&sample);
}

void heap_on_alloc(const void *ptr, size_t size, int draw)
{
	struct unwind_regs from;
	uint32_t fp;

	if (!ptr || !guard_enter())
		return;
	record_capture(&from);
	fp = arch_fp_enter();
	record(ptr, size, (unsigned)draw, &from);
	arch_fp_leave(fp);
	guard_leave();
}

NOINLINE void heap_freed(const struct live *sample)
{
	uint32_t fp = arch_fp_enter();

	count_out(sample);
	arch_fp_leave(fp);
}

NOINLINE void heap_restore(const struct live *sample)
{
	uint32_t fp = arch_fp_enter();

	keep_sample(sample);
	arch_fp_leave(fp);
}

static int64_t read_value(const _Atomic int64_t *value)
{
	return atomic_load_explicit(value, memory_order_acquire);
}

void heap_read(const struct bucket *b, struct heap_values *out)
{
	unsigned count_bits = weight_count_bits(b->key, self.base_rate);
	unsigned bytes_bits = weight_bytes_bits(b->key, self.base_rate);
	bool changed = read_value(&b->extra[PEAK_NUMBER]) ==
		       atomic_load_explicit(&self.peak_number, memory_order_relaxed);
	int64_t live_count = read_value(&b->value[LIVE_COUNT]);
	int64_t live_bytes = read_value(&b->value[LIVE_BYTES]);

	out->live_objects = weight_round(live_count, count_bits);
	out->live_bytes = weight_round(live_bytes, bytes_bits);
	out->alloc_objects = weight_round(read_value(&b->value[ALLOC_COUNT]), count_bits);
	out->alloc_bytes = weight_round(read_value(&b->value[ALLOC_BYTES]), bytes_bits);
	out->peak_objects = changed ? weight_round(read_value(&b->extra[PEAK_COUNT]), count_bits) :
				      out->live_objects;
	out->peak_bytes = changed ? weight_round(read_value(&b->extra[PEAK_BYTES]), bytes_bits) :
				    out->live_bytes;
}

void heap_share_of(const struct live *sample, struct heap_share *out)
{
	struct weight w = sample_weight(sample, sample->epoch);

	*out = (struct heap_share){ .objects = w.count, .bytes = w.bytes };
}

void heap_share_round(const struct bucket *b, struct heap_share *inout)
{
	inout->objects = weight_round(inout->objects, weight_count_bits(b->key, self.base_rate));
	inout->bytes = weight_round(inout->bytes, weight_bytes_bits(b->key, self.base_rate));
}

void heap_state(struct heap_state *out)
{
	int epoch = atomic_load_explicit(&self.epoch, memory_order_relaxed);

	*out = (struct heap_state){
		.base_rate = self.base_rate,
		.rate = rate_of((unsigned)epoch),
		.samples = stat_read(STAT_HEAP_SAMPLES),
		.live_bytes = atomic_load_explicit(&self.live, memory_order_relaxed),
		.peak_bytes = atomic_load_explicit(&self.peak, memory_order_relaxed),
		.peak_mono_ns = atomic_load_explicit(&self.peak_ns, memory_order_relaxed),
	};
}
