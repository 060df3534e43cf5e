/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/collect/heapview.h"

#include "agent/base/mem.h"
#include "agent/collect/buckets.h"
#include "agent/collect/heap.h"
#include "agent/collect/sizeclass.h"
#include "agent/collect/snapshot.h"
#include "agent/collect/weight.h"

static void scale_live(const struct bucket *b, struct sample *out)
{
	struct heap_values v;

	heap_read(b, &v);
	out->bytes = (int64_t)sizeclass_low(b->key);
	out->value[ALLOC_OBJECTS] = v.alloc_objects;
	out->value[ALLOC_SPACE] = v.alloc_bytes;
	out->value[INUSE_OBJECTS] = v.live_objects;
	out->value[INUSE_SPACE] = v.live_bytes;
}

static void scale_peak(const struct bucket *b, struct sample *out)
{
	struct heap_values v;

	heap_read(b, &v);
	scale_live(b, out);
	out->value[INUSE_OBJECTS] = v.peak_objects;
	out->value[INUSE_SPACE] = v.peak_bytes;
}

/* Sums per bucket, in its own units: open addressing, at most half full. */
struct leak_sums {
	uint64_t born_before;
	size_t n, mask;
	bool full;
	struct leak_row {
		const struct bucket *bucket;
		struct heap_share share;
	} *rows;
};

static struct leak_row *leak_find(struct leak_row *rows, size_t mask, const struct bucket *b)
{
	size_t at = (((uintptr_t)b >> 4) * 0x9e3779b97f4a7c15u >> 32) & mask;

	while (rows[at].bucket && rows[at].bucket != b)
		at = (at + 1) & mask;
	return &rows[at];
}

static bool leak_grow(struct leak_sums *sums)
{
	size_t room = sums->rows ? (sums->mask + 1) * 2 : 256;
	struct leak_row *rows = mem_zalloc(room * sizeof(*rows));

	if (!rows)
		return false;
	for (size_t i = 0; sums->rows && i <= sums->mask; i++)
		if (sums->rows[i].bucket)
			*leak_find(rows, room - 1, sums->rows[i].bucket) = sums->rows[i];
	mem_free(sums->rows);
	sums->rows = rows;
	sums->mask = room - 1;
	return true;
}

static void leak_visit(void *context, const struct live *sample)
{
	struct leak_sums *sums = context;
	struct heap_share share;
	struct leak_row *row;

	if (sample->birth > sums->born_before || sums->full)
		return;
	if ((!sums->rows || sums->n * 2 > sums->mask) && !leak_grow(sums)) {
		sums->full = true;
		return;
	}
	row = leak_find(sums->rows, sums->mask, sample->bucket);
	sums->n += !row->bucket;
	row->bucket = sample->bucket;
	heap_share_of(sample, &share);
	row->share.objects += share.objects;
	row->share.bytes += share.bytes;
}

static struct snapshot *take_old(uint64_t age_ns)
{
	struct leak_sums sums = { .rows = NULL };
	struct snapshot *s = snapshot_new();

	if (!s)
		return NULL;
	sums.born_before = age_ns < s->mono_ns ? s->mono_ns - age_ns : 0;
	livemap_each(leak_visit, &sums);
	s->incomplete = sums.full;
	for (size_t i = 0; sums.rows && i <= sums.mask && !s->incomplete; i++) {
		const struct bucket *b = sums.rows[i].bucket;
		struct heap_share share = sums.rows[i].share;

		if (!b)
			continue;
		heap_share_round(b, &share);
		snapshot_add(s, &(struct sample){
					.stack = b->stack,
					.key = b->key,
					.tag = b->tag,
					.bytes = (int64_t)sizeclass_low(b->key),
					.value = { share.objects, share.bytes, share.objects,
						   share.bytes },
				});
	}
	mem_free(sums.rows);
	return s;
}

struct snapshot *heapview_take(enum heap_view view, uint64_t age_ns)
{
	if (view == HEAP_OLD)
		return take_old(age_ns);
	return snapshot_take(SERIES_HEAP, view == HEAP_PEAK ? scale_peak : scale_live);
}

static int64_t to_integer(double x)
{
	return (int64_t)(x < 0 ? x - 0.5 : x + 0.5);
}

/* Estimate -> what a reader that divides by the chance of an average block turns into it again. */
static void unscale(int64_t *objects, int64_t *bytes, uint64_t rate)
{
	double size, factor;

	if (!*objects || !*bytes)
		return;
	size = (double)*bytes / (double)*objects;
	factor = weight_factor((uint64_t)(size + 0.5), rate);
	*objects = to_integer((double)*objects / factor);
	*bytes = to_integer((double)*bytes / factor);
}

bool heapview_unscale(struct snapshot *s)
{
	struct heap_state state;

	heap_state(&state);
	if (state.rate != state.base_rate)
		return false;
	for (size_t i = 0; i < s->n; i++) {
		int64_t *v = s->samples[i].value;

		unscale(&v[ALLOC_OBJECTS], &v[ALLOC_SPACE], state.rate);
		unscale(&v[INUSE_OBJECTS], &v[INUSE_SPACE], state.rate);
	}
	return true;
}

static double root(double x)
{
	double r = x > 1 ? x : 1;

	for (int i = 0; i < 1100 && r * r > x * (1 + 1e-9); i++)
		r = (r + x / r) / 2;
	return x > 0 ? r : 0;
}

/*
 * Variance of a Horvitz-Thompson sum of independent samples: sum of s^2 (1-p)/p^2. The total behaves
 * like a Poisson count of bytes^2/variance events; its interval is that of such a count (Wilson and
 * Hilferty's cube root, 1931), which stays right for a handful of samples. With none at all, fewer
 * than 3.7 were due.
 */
static void find_interval(struct heap_estimate *e, uint64_t rate)
{
	double n, low, high;

	e->low = e->high = e->bytes;
	if (e->bytes <= 0 && rate > 1)
		e->high = 3.7 * (double)rate;
	if (e->variance <= 0 || e->bytes <= 0)
		return;
	n = e->bytes * e->bytes / e->variance;
	low = 1 - 1 / (9 * n) - 1.96 / (3 * root(n));
	high = 1 - 1 / (9 * (n + 1)) + 1.96 / (3 * root(n + 1));
	e->low = low > 0 ? e->bytes * low * low * low : 0;
	e->high = e->bytes * (n + 1) / n * high * high * high;
}

static void add_to_estimate(struct heap_estimate *e, int64_t objects, int64_t bytes,
			    uint64_t rate)
{
	double n = (double)objects, size = n > 0 ? (double)bytes / n : 0, factor;

	e->bytes += (double)bytes;
	if (size < 1) {
		e->samples += rate <= 1 ? n : 0;
		return;
	}
	factor = weight_factor((uint64_t)(size + 0.5), rate);
	e->samples += n / factor;
	e->variance += (double)bytes * size * (factor - 1);
}

void heapview_estimate(const struct snapshot *s, unsigned objects, struct heap_estimate *out)
{
	struct heap_state state;

	heap_state(&state);
	*out = (struct heap_estimate){ .bytes = 0 };
	for (size_t i = 0; i < s->n; i++)
		add_to_estimate(out, s->samples[i].value[objects], s->samples[i].value[objects + 1],
				state.rate);
	find_interval(out, state.rate);
}
