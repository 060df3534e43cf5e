/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocator's own statistics (mallinfo2) are not asked: it waits for the locks of all arenas, and
 * the thread that holds one may never let go of it. What is printed comes from the kernel's counters
 * of the process and from the samples.
 */
#include "agent/heap.h"

#include <stdbool.h>
#include <string.h>

#include "agent/base/budget.h"
#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "agent/collect/buckets.h"
#include "agent/collect/heap.h"
#include "agent/collect/sizeclass.h"
#include "agent/collect/snapshot.h"
#include "agent/collect/weight.h"
#include "agent/http/request.h"
#include "agent/serve.h"

enum { ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE };

static const uint64_t second = 1000000000;

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
	*bytes = to_integer(size * (double)*objects);
}

static bool rate_changed(void)
{
	struct heap_state state;

	heap_state(&state);
	return state.rate != state.base_rate;
}

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

/* For the text form: sampled numbers, when a reader can scale them back. */
static struct snapshot *for_request(struct snapshot *s, const struct request *request)
{
	struct heap_state state;
	int64_t debug;

	if (!s || request_query_int(request, "debug", &debug) != 1 || !debug || rate_changed())
		return s;
	heap_state(&state);
	for (size_t i = 0; i < s->n; i++) {
		int64_t *v = s->samples[i].value;

		unscale(&v[ALLOC_OBJECTS], &v[ALLOC_SPACE], state.rate);
		unscale(&v[INUSE_OBJECTS], &v[INUSE_SPACE], state.rate);
	}
	return s;
}

struct snapshot *heap_take_live(const struct profile *profile, const struct request *request)
{
	return for_request(snapshot_take(SERIES_HEAP, scale_live), request);
}

struct snapshot *heap_take_peak(const struct profile *profile, const struct request *request)
{
	return for_request(snapshot_take(SERIES_HEAP, scale_peak), request);
}

/* ---- leak ---- */

/* "90", "90s", "1.5m", "2h", "500ms" -> ns. false: none of these. */
static bool parse_age(const char *text, uint64_t *out_ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{ "", 1000000000 },	    { "s", 1000000000 },	 { "ms", 1000000 },
		{ "m", (uint64_t)60000000000 }, { "h", (uint64_t)3600000000000 },
	};
	double value = 0, place = 1;
	bool digits = false, point = false;

	for (; (*text >= '0' && *text <= '9') || (*text == '.' && !point); text++) {
		if (*text == '.') {
			point = true;
			continue;
		}
		digits = true;
		value = value * 10 + (*text - '0');
		place = point ? place * 10 : 1;
	}
	for (size_t i = 0; digits && i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(text, units[i].name) != 0)
			continue;
		value = value / place * (double)units[i].ns;
		*out_ns = value < 1e18 ? (uint64_t)value : (uint64_t)1000000000000000000;
		return true;
	}
	return false;
}

static bool read_age(const struct request *request, uint64_t *out_ns)
{
	char text[32];
	long n = request_query(request, "age", text, sizeof(text));

	*out_ns = 60 * second;
	return n < 0 || ((size_t)n < sizeof(text) && parse_age(text, out_ns));
}

const char *heap_refuse_leak(const struct request *request)
{
	uint64_t age;

	return read_age(request, &age) ? NULL
				       : "invalid value for \"age\" - must be a duration such as 90s, "
					 "500ms, 1.5m or 2h";
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

struct snapshot *heap_take_leak(const struct profile *profile, const struct request *request)
{
	struct leak_sums sums = { .rows = NULL };
	struct snapshot *s = snapshot_new();
	uint64_t age;

	if (!s)
		return NULL;
	read_age(request, &age);
	sums.born_before = age < s->mono_ns ? s->mono_ns - age : 0;
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
	return for_request(s, request);
}

/* ---- what is said about them ---- */

int64_t heap_period(void)
{
	struct heap_state state;

	heap_state(&state);
	return (int64_t)state.base_rate;
}

uint64_t heap_count(void)
{
	return buckets_count(SERIES_HEAP);
}

/* The estimate of a sum of bytes and how sure it is. */
struct estimate {
	double bytes;
	double variance;
	double samples;
	double low, high; /* 95 % interval */
};

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
 * Hilferty's cube root, 1931), which stays right for a handful of samples.
 */
static void find_interval(struct estimate *e)
{
	double n, low, high;

	e->low = e->high = e->bytes;
	if (e->variance <= 0 || e->bytes <= 0)
		return;
	n = e->bytes * e->bytes / e->variance;
	low = 1 - 1 / (9 * n) - 1.96 / (3 * root(n));
	high = 1 - 1 / (9 * (n + 1)) + 1.96 / (3 * root(n + 1));
	e->low = low > 0 ? e->bytes * low * low * low : 0;
	e->high = e->bytes * (n + 1) / n * high * high * high;
}

static void estimate(const struct snapshot *s, int objects, uint64_t rate, struct estimate *out)
{
	*out = (struct estimate){ .bytes = 0 };
	for (size_t i = 0; i < s->n; i++) {
		double n = (double)s->samples[i].value[objects];
		double bytes = (double)s->samples[i].value[objects + 1];
		double size = n > 0 ? bytes / n : 0, factor;

		out->bytes += bytes;
		if (size < 1) {
			out->samples += rate <= 1 ? n : 0;
			continue;
		}
		factor = weight_factor((uint64_t)(size + 0.5), rate);
		out->samples += n / factor;
		out->variance += bytes * size * (factor - 1);
	}
	find_interval(out);
}

static bool has_negative(const struct snapshot *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->samples[i].value[INUSE_SPACE] < 0)
			return true;
	return false;
}

static void comment_estimate(struct comments *to, const char *name, const struct estimate *e)
{
	comments_add(to, "pprofagent: %s %ld bytes, 95%% interval %ld to %ld, from %ld samples", name,
		     (long)e->bytes, (long)e->low, (long)e->high, (long)(e->samples + 0.5));
}

void heap_comment(const struct snapshot *snapshot, struct comments *comments)
{
	struct heap_state state;
	struct estimate e;

	heap_state(&state);
	if (!state.base_rate) {
		comments_add(comments, "pprofagent: heap profiling is off (PPROF_MEMPROFILERATE=0)");
		return;
	}
	/* in a difference, shrinking rows say nothing about the error of their sum */
	if (!has_negative(snapshot)) {
		estimate(snapshot, INUSE_OBJECTS, state.rate, &e);
		comment_estimate(comments, "inuse_space", &e);
	}
	estimate(snapshot, ALLOC_OBJECTS, state.rate, &e);
	comment_estimate(comments, "alloc_space", &e);
	if (state.rate != state.base_rate)
		comments_add(comments,
			     "pprofagent: one sample in %lu bytes instead of %lu: PPROF_MAX_MEM was "
			     "reached; totals stay right, errors grow",
			     state.rate, state.base_rate);
}

const char *heap_text_unit(char *buf, size_t size)
{
	struct heap_state state;

	heap_state(&state);
	if (state.rate != state.base_rate)
		return "heapprofile";
	fmt_buf(buf, size, "heap/%lu", 2 * state.rate);
	return buf;
}

/* "VmRSS:\t  1234 kB" of /proc/.../status -> bytes; 0 when it is not there. */
static uint64_t status_bytes(const char *status, const char *key)
{
	const char *at = strstr(status, key);
	uint64_t n = 0;

	if (!at)
		return 0;
	for (at += strlen(key); *at == ' ' || *at == '\t'; at++)
		;
	for (; *at >= '0' && *at <= '9'; at++)
		n = n * 10 + (uint64_t)(*at - '0');
	return n * 1024;
}

void heap_text_trailer(char *buf, size_t size)
{
	char status[4096];
	long got = sys_read_file("/proc/thread-self/status", status, sizeof(status) - 1);
	struct heap_values v, sum = { 0, 0, 0, 0, 0, 0 };
	struct heap_state state;
	size_t n;

	status[got < 0 ? 0 : got] = '\0';
	heap_state(&state);
	for (const struct bucket *b = buckets_first(SERIES_HEAP); b; b = bucket_next(b)) {
		heap_read(b, &v);
		sum.alloc_objects += v.alloc_objects;
		sum.alloc_bytes += v.alloc_bytes;
		sum.live_objects += v.live_objects;
		sum.live_bytes += v.live_bytes;
	}
	n = fmt_buf(buf, size,
		    "\n# runtime.MemStats\n# Alloc = %ld\n# TotalAlloc = %ld\n# Sys = %lu\n"
		    "# Mallocs = %ld\n# Frees = %ld\n# HeapAlloc = %ld\n# HeapSys = %lu\n"
		    "# HeapObjects = %ld\n# OtherSys = %zu\n# MaxRSS = %lu\n",
		    (long)sum.live_bytes, (long)sum.alloc_bytes, status_bytes(status, "VmData:"),
		    (long)sum.alloc_objects, (long)(sum.alloc_objects - sum.live_objects),
		    (long)sum.live_bytes, status_bytes(status, "RssAnon:"), (long)sum.live_objects,
		    budget_used(), status_bytes(status, "VmHWM:"));
	if (n >= size)
		return;
	fmt_buf(buf + n, size - n,
		"# Allocations are estimates from %lu samples, one in %lu bytes. Sys: data mapped by "
		"the process;\n# HeapSys: anonymous memory in RAM; OtherSys: the agent's memory; the "
		"C library's own\n# statistics are not asked, because they wait for its locks.\n"
		"# RSS = %lu\n# Swap = %lu\n# PeakHeapAlloc = %ld\n",
		state.samples, state.rate, status_bytes(status, "VmRSS:"),
		status_bytes(status, "VmSwap:"), (long)state.peak_bytes);
}
