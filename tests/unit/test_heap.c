/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sampler driven as the hooks drive it, with addresses that nobody allocated: estimates against
 * truth over many seeds, exactness at rate 1, peaks, the rate that doubles. Every case is a process
 * of its own (tests/unit/main.c), and so is every seed here.
 *
 * Limits. A mean over S seeds of an unbiased estimate lies within 5 standard errors but for 6 in 10^7
 * runs. The number of 95 % intervals that hold is binomial: its limit is the quantile of 10^-7.
 */
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/budget.h"
#include "agent/base/random.h"
#include "agent/base/stats.h"
#include "agent/collect/buckets.h"
#include "agent/collect/heap.h"
#include "agent/collect/heapview.h"
#include "agent/collect/snapshot.h"
#include "tests/unit/test.h"

enum { SEEDS = 60 };

/* One address for each allocation, as far apart as real ones. */
static uintptr_t next_address = 0x7f0000000010u;

static uintptr_t take_memory(size_t size)
{
	uintptr_t at = next_address;
	int draw = heap_due(size) ? heap_draw(size) : HEAP_SKIP;

	next_address += (size + 31) & ~(size_t)15;
	if (draw != HEAP_SKIP)
		heap_on_alloc((void *)at, size, draw);
	return at;
}

static void give_memory(uintptr_t at)
{
	struct live sample;

	if (livemap_maybe((void *)at) && heap_take((void *)at, &sample))
		heap_freed(&sample);
}

static struct heap_values total(void)
{
	struct heap_values sum = { 0, 0, 0, 0, 0, 0 }, v;

	for (const struct bucket *b = buckets_first(SERIES_HEAP); b; b = bucket_next(b)) {
		heap_read(b, &v);
		sum.alloc_objects += v.alloc_objects;
		sum.alloc_bytes += v.alloc_bytes;
		sum.live_objects += v.live_objects;
		sum.live_bytes += v.live_bytes;
		sum.peak_objects += v.peak_objects;
		sum.peak_bytes += v.peak_bytes;
	}
	return sum;
}

/* What a seed's process found: estimate, its 95 % interval, and the truth. */
struct finding {
	double truth[4], got[4]; /* objects and bytes ever, objects and bytes live */
	bool holds[2];		 /* the interval of bytes ever, live */
};

static struct finding *findings; /* shared with the processes of the seeds */

static void run_seeds(uint64_t rate, size_t budget, void (*program)(struct finding *out))
{
	findings = mmap(NULL, SEEDS * sizeof(*findings), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < SEEDS; i++) {
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			random_set_seed((uint64_t)i + 1000);
			budget_set(budget);
			heap_start(rate, false);
			program(&findings[i]);
			_exit(0);
		}
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	}
}

/* Mean error of each number within 5 standard errors of 0. */
static void check_unbiased(const char *what, int numbers)
{
	for (int k = 0; k < numbers; k++) {
		double mean = 0, square = 0, error;

		for (int i = 0; i < SEEDS; i++) {
			double e = findings[i].got[k] / findings[i].truth[k] - 1;

			mean += e / SEEDS;
			square += e * e / SEEDS;
		}
		error = sqrt((square - mean * mean) / (SEEDS - 1));
		printf("# %s number %d: mean error %+.4f, standard error %.4f, spread %.3f\n", what, k,
		       mean, error, sqrt(square));
		if (!(fabs(mean) <= 5 * error))
			test_fail(__FILE__, __LINE__, "%s: number %d is biased", what, k);
	}
}

static void check_intervals(const char *what, const char *of, int k, int at_least)
{
	int n = 0;

	for (int i = 0; i < SEEDS; i++)
		n += findings[i].holds[k];
	printf("# %s, %s: %d of %d intervals hold\n", what, of, n, SEEDS);
	if (n < at_least)
		test_fail(__FILE__, __LINE__, "%s, %s: only %d of %d intervals hold", what, of, n, SEEDS);
}

static bool inside(const struct snapshot *s, unsigned objects, double truth)
{
	struct heap_estimate e;

	heapview_estimate(s, objects, &e);
	return e.low <= truth && truth <= e.high;
}

static void find(struct finding *out)
{
	struct heap_values v = total();
	struct snapshot *s = heapview_take(HEAP_LIVE, 0);

	out->got[0] = (double)v.alloc_objects;
	out->got[1] = (double)v.alloc_bytes;
	out->got[2] = (double)v.live_objects;
	out->got[3] = (double)v.live_bytes;
	out->holds[0] = inside(s, ALLOC_OBJECTS, out->truth[1]);
	out->holds[1] = inside(s, INUSE_OBJECTS, out->truth[3]);
}

/* One block of the program, which stays or is freed at once. */
static void block(struct finding *out, size_t size, bool stays)
{
	uintptr_t at = take_memory(size);

	out->truth[0] += 1;
	out->truth[1] += (double)size;
	if (stays) {
		out->truth[2] += 1;
		out->truth[3] += (double)size;
	} else {
		give_memory(at);
	}
}

static void check_estimates(const char *what, uint64_t rate, void (*program)(struct finding *out))
{
	run_seeds(rate, (size_t)64 << 20, program);
	check_unbiased(what, 4);
	check_intervals(what, "ever", 0, 45);
	check_intervals(what, "live", 1, 45);
}

/* Sizes from 16 B to 16 MB with a fat tail; every fourth block stays. */
static void fat_tail(struct finding *out)
{
	uint64_t s = 99;

	for (int i = 0; i < 60000; i++) {
		size_t size = 16;

		s = s * 6364136223846793005u + 1442695040888963407u;
		for (uint64_t r = s >> 40; r & 1 && size < 16 << 20; r >>= 1)
			size *= 2;
		size += (s >> 33) % size;
		block(out, size, i % 4 == 0);
	}
	find(out);
}

TEST(heap_estimates_a_fat_tail)
{
	check_estimates("fat tail", 4096, fat_tail);
}

/* One small size: here a weight kept in whole numbers would be wrong by tens of percent. */
static void middle_size(struct finding *out)
{
	for (int i = 0; i < 30000; i++)
		block(out, 3000, i % 3 == 0);
	find(out);
}

TEST(heap_estimates_blocks_near_the_rate)
{
	check_estimates("near the rate", 4096, middle_size);
}

/* Default rate, small blocks, few samples: intervals must be honest for a handful too. */
static void few_samples(struct finding *out)
{
	for (int i = 0; i < 200000; i++)
		block(out, 100, i % 4 == 0);
	find(out);
}

TEST(heap_intervals_hold_with_few_samples)
{
	check_estimates("few samples", 524288, few_samples);
}

/* The memory for live samples is far too small: the rate doubles again and again. */
static void overfull(struct finding *out)
{
	uint64_t s = 5;

	for (int i = 0; i < 150000; i++) {
		s = s * 6364136223846793005u + 1442695040888963407u;
		block(out, 16 + (size_t)(i % 64) * 16, s >> 62);
	}
	CHECK(stat_read(STAT_HEAP_RATE_DOUBLED) >= 3);
	CHECK_INT(stat_read(STAT_HEAP_LIVE_FULL), 0);
	CHECK(budget_used() <= budget_limit());
	find(out);
}

TEST(heap_stays_right_when_the_rate_doubles)
{
	run_seeds(64, (size_t)1 << 20, overfull);
	check_unbiased("overfull", 4);
}

TEST(heap_stays_right_from_rate_one_on)
{
	run_seeds(1, (size_t)1 << 20, overfull);
	check_unbiased("overfull from 1", 4);
}

TEST(heap_is_exact_at_rate_one)
{
	int64_t bytes = 0, stay = 0;
	struct heap_values v;
	uintptr_t kept[500];

	heap_start(1, false);
	for (int i = 0; i < 5000; i++) {
		size_t size = (size_t)i * 7 % 40000; /* 0 too */
		uintptr_t at = take_memory(size);

		bytes += (int64_t)size;
		if (i % 10) {
			give_memory(at);
		} else {
			kept[i / 10] = at;
			stay += (int64_t)size;
		}
	}
	v = total();
	CHECK_INT(v.alloc_objects, 5000);
	CHECK_INT(v.alloc_bytes, bytes);
	CHECK_INT(v.live_objects, 500);
	CHECK_INT(v.live_bytes, stay);
	for (int i = 0; i < 500; i++)
		give_memory(kept[i]);
	v = total();
	CHECK_INT(v.live_objects, 0);
	CHECK_INT(v.live_bytes, 0);
	CHECK_INT(v.alloc_objects, 5000);
}

TEST(heap_off_samples_nothing)
{
	heap_start(0, false);
	for (int i = 0; i < 10000; i++)
		take_memory(1 << 20);
	CHECK_INT(stat_read(STAT_HEAP_SAMPLES), 0);
	CHECK_INT(total().alloc_bytes, 0);
	/* nor does it look for samples: free passes through */
	for (uintptr_t at = 4096; at < 1 << 20; at += 16)
		CHECK(!livemap_maybe((void *)at));
}

/* malloc((size_t)-1) and the like fail; afterwards sampling must go on. */
TEST(heap_countdown_survives_absurd_sizes)
{
	static const size_t absurd[] = { SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX / 4 * 3,
					 (size_t)1 << 63, ((size_t)1 << 63) + ((size_t)1 << 62) };

	heap_start(4096, false);
	for (size_t i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++) {
		uint64_t before;

		if (heap_due(absurd[i])) {
			int draw = heap_draw(absurd[i]);

			if (draw != HEAP_SKIP)
				heap_on_alloc(NULL, absurd[i], draw);
		}
		before = stat_read(STAT_HEAP_SAMPLES);
		for (int k = 0; k < 1000; k++)
			give_memory(take_memory(4096));
		CHECK(stat_read(STAT_HEAP_SAMPLES) > before + 300);
	}
}

/* A spike between two looks, over three sizes; at rate 1 every number is exact. */
TEST(heap_peak_is_kept)
{
	static uintptr_t blocks[3][100];
	struct heap_values v;
	struct heap_state state;

	heap_start(1, false);
	for (int i = 0; i < 50; i++)
		blocks[0][i] = take_memory(64);
	for (int k = 1; k < 3; k++)
		for (int i = 0; i < 100; i++)
			blocks[k][i] = take_memory((size_t)1000 * (size_t)k);
	for (int k = 1; k < 3; k++)
		for (int i = 0; i < 100; i++)
			give_memory(blocks[k][i]);
	for (int i = 0; i < 100; i++)
		give_memory(take_memory(5000));
	for (int i = 0; i < 25; i++)
		give_memory(blocks[0][i]);
	v = total();
	CHECK_INT(v.live_bytes, 25 * 64);
	CHECK_INT(v.peak_bytes, 50 * 64 + 100 * 1000 + 100 * 2000);
	CHECK_INT(v.peak_objects, 250);
	heap_state(&state);
	CHECK_INT(state.peak_bytes, v.peak_bytes);
	CHECK_INT(state.live_bytes, v.live_bytes);
	CHECK(state.peak_mono_ns > 0);
	/* a higher one replaces it */
	take_memory(1 << 20);
	CHECK_INT(total().peak_bytes, 25 * 64 + (1 << 20));
	CHECK_INT(total().peak_objects, 26);
}

TEST(heap_failed_realloc_changes_nothing)
{
	struct heap_values before, after;
	struct live sample;
	uintptr_t at;

	heap_start(1, false);
	at = take_memory(777);
	before = total();
	CHECK(heap_take((void *)at, &sample));
	heap_restore(&sample);
	after = total();
	CHECK(!memcmp(&before, &after, sizeof(before)));
	give_memory(at);
	CHECK_INT(total().live_bytes, 0);
}

TEST(heap_stale_entry_heals)
{
	heap_start(1, false);
	heap_on_alloc((void *)0x10000, 100, 0);
	heap_on_alloc((void *)0x10000, 300, 0); /* its free went past us */
	CHECK_INT(stat_read(STAT_HEAP_STALE), 1);
	CHECK_INT(total().live_bytes, 300);
	CHECK_INT(total().live_objects, 1);
	CHECK_INT(total().alloc_bytes, 400);
}

/* The hook of a signal handler that interrupted the agent is forwarded and counted. */
TEST(heap_guard_is_counted)
{
	heap_start(1, false);
	take_memory(1);
	CHECK(guard_enter());
	take_memory(100);
	guard_leave();
	CHECK_INT(stat_read(STAT_HEAP_BUSY), 1);
	CHECK_INT(total().alloc_bytes, 1);
}

static int64_t older_than(uint64_t age_ns)
{
	struct snapshot *s = heapview_take(HEAP_OLD, age_ns);
	int64_t sum = 0;

	CHECK(s && !s->incomplete);
	for (size_t i = 0; i < s->n; i++)
		sum += s->samples[i].value[INUSE_SPACE];
	snapshot_drop(s);
	return sum;
}

TEST(heap_knows_the_age_of_blocks)
{
	uintptr_t old;

	heap_start(1, false);
	old = take_memory(1000);
	take_memory(30);
	usleep(300000);
	take_memory(500000);
	CHECK_INT(older_than(200000000), 1030);
	CHECK_INT(older_than(0), 501030);
	CHECK_INT(older_than(10000000000), 0);
	give_memory(old);
	CHECK_INT(older_than(200000000), 30);
}

/* pprof's rule for the text form: count and bytes times 1/(1 - exp(-average/rate)). */
TEST(heap_text_numbers_scale_back)
{
	struct snapshot *text, *s;

	budget_set((size_t)64 << 20);
	random_set_seed(4);
	heap_start(8192, false);
	for (int i = 0; i < 100000; i++)
		take_memory((size_t)(16 + i % 500 * 40));
	s = heapview_take(HEAP_LIVE, 0);
	text = heapview_take(HEAP_LIVE, 0);
	CHECK(s->n > 20 && text->n == s->n);
	CHECK(heapview_unscale(text));
	for (size_t i = 0; i < s->n; i++) {
		int64_t *raw = text->samples[i].value, *want = s->samples[i].value;

		for (int k = 0; k < 4; k += 2) {
			double size = (double)raw[k + 1] / (double)raw[k];
			double factor = -1 / expm1(-size / 8192);

			CHECK(raw[k] > 0);
			/* whole samples: half a one of error */
			CHECK(fabs((double)raw[k] * factor - (double)want[k]) <= 0.51 * factor + 1);
			CHECK(fabs((double)raw[k + 1] * factor / (double)want[k + 1] - 1) <=
			      0.51 / (double)raw[k] + 0.01);
		}
	}
}
