/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdint.h>

#include "agent/base/budget.h"
#include "agent/collect/livemap.h"
#include "tests/unit/test.h"

/* Any aligned address serves as a bucket: the map only keeps it. */
static struct bucket *bucket(uint64_t n)
{
	return (struct bucket *)(uintptr_t)((n & 0xffffff) * 16 + 16);
}

static uint64_t next(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	return *s ^= *s << 17;
}

static struct live entry_for(uintptr_t address, uint64_t r)
{
	return (struct live){
		.address = address,
		.bucket = bucket(r),
		.size = r >> 20,
		.birth = r * 3,
		.epoch = (unsigned)(r >> 10) & 31,
	};
}

static void check_same(const struct live *got, const struct live *want)
{
	CHECK(got->address == want->address && got->bucket == want->bucket);
	CHECK(got->size == want->size && got->birth == want->birth && got->epoch == want->epoch);
}

enum { ADDRESSES = 200000 };

static void count_one(void *context, const struct live *entry)
{
	(*(uint64_t *)context)++;
}

static uint64_t filter_bits_set(void)
{
	const struct live_filter *f = atomic_load(&livefilter);
	uint64_t n = 0;

	for (uint64_t i = 0; i <= f->mask; i++)
		n += (uint64_t)__builtin_popcount((uint32_t)atomic_load(&f->word[i]));
	return n;
}

/* Random insertions and removals against a plain array, through every growth of sets and filter. */
TEST(livemap_agrees_with_a_model)
{
	static struct live model[ADDRESSES];
	uint64_t s = 88172645463325252u, live = 0, seen = 0;
	struct live got;

	budget_set((size_t)256 << 20);
	livemap_start((size_t)128 << 20, false);
	for (int step = 0; step < 3000000; step++) {
		uint64_t r = next(&s);
		/* the number of live ones swells and shrinks */
		size_t range = step / 500000 % 2 ? ADDRESSES / 50 : ADDRESSES;
		size_t i = r % range;
		uintptr_t address = 0x7f0000000010u + i * 48;

		if (model[i].address) {
			CHECK(livemap_maybe((void *)address));
			CHECK(livemap_take(address, &got));
			check_same(&got, &model[i]);
			model[i].address = 0;
			live--;
			CHECK(!livemap_take(address, &got));
		} else {
			model[i] = entry_for(address, next(&s));
			CHECK(livemap_insert(&model[i]));
			live++;
		}
	}
	livemap_each(count_one, &seen);
	CHECK_INT(seen, live);
	CHECK(live > 50000);
	/* it grew, and a bit that nobody needs any more was cleared */
	CHECK(atomic_load(&livefilter)->mask + 1 > 1024);
	for (size_t i = 0; i < ADDRESSES; i++)
		if (model[i].address)
			CHECK(livemap_take(model[i].address, &got));
	seen = 0;
	livemap_each(count_one, &seen);
	CHECK_INT(seen, 0);
	CHECK_INT(filter_bits_set(), 0);
}

TEST(livemap_filter_is_small_and_sharp)
{
	uint64_t s = 1, maybe = 0;
	struct live e;

	CHECK_INT(atomic_load(&livefilter)->mask + 1, 1024); /* 8 KiB */
	for (int i = 0; i < 2000; i++) {
		e = entry_for(0x555500000010u + (next(&s) % 4000000) * 16, 77);
		if (!livemap_take(e.address, &e))
			livemap_insert(&e);
	}
	CHECK_INT(atomic_load(&livefilter)->mask + 1, 1024);
	for (int i = 0; i < 1000000; i++)
		maybe += livemap_maybe((void *)(uintptr_t)(0x555540000010u + (uintptr_t)i * 32));
	/* 2,000 of 32,768 bits: 6 % */
	CHECK(maybe < 75000);
}

TEST(livemap_says_when_it_is_full)
{
	uint64_t inserted = 0, seen = 0;

	budget_set((size_t)1 << 20);
	livemap_start((size_t)512 << 10, false);
	for (int i = 0; i < 100000; i++) {
		struct live e = entry_for(0x7f0000000010u + (uintptr_t)i * 64, 5);

		inserted += livemap_insert(&e);
	}
	livemap_each(count_one, &seen);
	CHECK_INT(seen, inserted);
	CHECK(inserted > 5000 && inserted < 20000);
	CHECK(livemap_bytes() <= (size_t)512 << 10);
}

static int keep_odd(const struct live *e)
{
	return e->size & 1 ? (int)e->epoch + 1 : -1;
}
static uint64_t thinned, rewritten;
static void thin_done(const struct live *e, int verdict)
{
	CHECK((e->size & 1) == (verdict >= 0));
	if (verdict < 0)
		thinned++;
	else
		rewritten++;
}

TEST(livemap_thins_one_place)
{
	uint64_t seen = 0, removed = 0;
	struct live got;

	livemap_start(SIZE_MAX, false);
	for (uint64_t i = 0; i < 1000; i++) {
		struct live e = { 0x10000 + i * 64, bucket(i), i, 0, 3 };

		CHECK(livemap_insert(&e));
	}
	for (uint64_t i = 0; i < 1000; i++)
		removed += livemap_thin(0x10000 + i * 64, keep_odd, thin_done);
	CHECK_INT(removed, 500);
	CHECK_INT(thinned, 500);
	CHECK(rewritten >= 500);
	livemap_each(count_one, &seen);
	CHECK_INT(seen, 500);
	CHECK(!livemap_take(0x10000 + 2 * 64, &got));
	CHECK(livemap_take(0x10000 + 3 * 64, &got));
	CHECK(got.epoch > 3 && got.size == 3 && got.bucket == bucket(3));
}

TEST(livemap_pin_stays)
{
	struct live got, e = { 0x7000, bucket(1), 1, 1, 0 };

	livemap_pin((void *)(uintptr_t)0x4000);
	CHECK(livemap_maybe((void *)(uintptr_t)0x4000));
	CHECK(!livemap_take(0x4000, &got));
	for (int i = 0; i < 100000; i++) {
		e.address = 0x7000 + (uintptr_t)i * 16;
		CHECK(livemap_insert(&e));
	}
	for (int i = 0; i < 100000; i++)
		CHECK(livemap_take(0x7000 + (uintptr_t)i * 16, &got));
	CHECK(atomic_load(&livefilter)->mask + 1 > 1024);
	CHECK(livemap_maybe((void *)(uintptr_t)0x4000));
	CHECK_INT(filter_bits_set(), 1);
}

/* Each thread inserts its own addresses, all in one small range so that words, sets and groups are
 * shared, and hands half of them to the next thread to take. Nothing may ever be missed. */
enum { THREADS = 8, ROUNDS = 60000, BOX = 256 };
static _Atomic uintptr_t box[THREADS][BOX];
static _Atomic uint64_t missed, filtered;

static void take_one(uintptr_t address)
{
	struct live got;

	if (!livemap_maybe((void *)address))
		atomic_fetch_add(&filtered, 1);
	if (!livemap_take(address, &got) || got.size != address * 7)
		atomic_fetch_add(&missed, 1);
}

static void *churn(void *arg)
{
	uint64_t s = (uintptr_t)arg * 7919 + 1, id = (uintptr_t)arg;

	for (int i = 0; i < ROUNDS; i++) {
		/* unique: thread, round; dense: the low bits repeat */
		struct live e = { ((uintptr_t)i * THREADS + id + 1) * 16, bucket(id), 0, 0, 0 };
		uintptr_t other;

		e.size = e.address * 7;
		if (!livemap_insert(&e)) {
			atomic_fetch_add(&missed, 1);
			continue;
		}
		if (next(&s) & 1) {
			take_one(e.address);
			continue;
		}
		other = atomic_exchange(&box[(id + 1) % THREADS][next(&s) % BOX], e.address);
		if (other)
			take_one(other);
		other = atomic_exchange(&box[id][next(&s) % BOX], 0);
		if (other)
			take_one(other);
	}
	return NULL;
}

TEST(livemap_misses_nothing_with_many_threads)
{
	pthread_t threads[THREADS];
	uint64_t seen = 0;

	budget_set((size_t)256 << 20);
	livemap_start((size_t)128 << 20, false);
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, churn, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int t = 0; t < THREADS; t++)
		for (int i = 0; i < BOX; i++)
			if (box[t][i])
				take_one(box[t][i]);
	CHECK_INT(filtered, 0);
	CHECK_INT(missed, 0);
	livemap_each(count_one, &seen);
	CHECK_INT(seen, 0);
	CHECK_INT(filter_bits_set(), 0);
}
