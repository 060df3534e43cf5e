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
#include "agent/base/sys.h"
#include "agent/collect/buckets.h"
#include "agent/collect/heap.h"
#include "agent/collect/heapview.h"
#include "agent/collect/snapshot.h"
#include "agent/comments.h"
#include "agent/endpoint.h"
#include "agent/foreign.h"
#include "agent/heaptrim.h"
#include "agent/http/request.h"

enum { REST_MIN = 64 << 20 };

static const uint64_t second = 1000000000;

static struct snapshot *finish(struct snapshot *s, const struct request *request)
{
	int64_t debug;

	if (!s)
		return NULL;
	heaptrim(s);
	/* the text form gives what was sampled, where a reader can scale it back */
	if (request_query_int(request, "debug", &debug) == 1 && debug)
		heapview_unscale(s);
	return s;
}

struct snapshot *heap_take_live(const struct profile *profile, const struct request *request)
{
	return finish(heapview_take(HEAP_LIVE, 0), request);
}

struct snapshot *heap_take_peak(const struct profile *profile, const struct request *request)
{
	return finish(heapview_take(HEAP_PEAK, 0), request);
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
	double value;

	text = endpoint_decimal(text, &value);
	for (size_t i = 0; text && i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(text, units[i].name) != 0)
			continue;
		value *= (double)units[i].ns;
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

struct snapshot *heap_take_leak(const struct profile *profile, const struct request *request)
{
	uint64_t age;

	read_age(request, &age);
	return finish(heapview_take(HEAP_OLD, age), request);
}

/* ---- what is said about them ---- */

int64_t heap_period(void)
{
	struct heap_state state;

	heap_state(&state);
	return state.base_rate ? (int64_t)state.base_rate : 1; /* 0 is no valid period */
}

uint64_t heap_count(void)
{
	return buckets_count(SERIES_HEAP);
}

static bool has_negative(const struct snapshot *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->samples[i].value[INUSE_SPACE] < 0)
			return true;
	return false;
}

static void comment_estimate(struct comments *to, const char *name, const struct heap_estimate *e)
{
	comments_add(to, "pprofagent: %s %ld bytes, 95%% interval %ld to %ld, from %ld samples", name,
		     (long)e->bytes, (long)e->low, (long)e->high,
		     (long)(e->samples + 0.5));
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

/* Much more memory than malloc gave: the reader should look elsewhere too. */
static void comment_rest(struct comments *to, double live_high)
{
	char status[4096];
	long got = sys_read_file("/proc/thread-self/status", status, sizeof(status) - 1);
	uint64_t anonymous;

	status[got < 0 ? 0 : got] = '\0';
	anonymous = status_bytes(status, "RssAnon:");
	if (anonymous > REST_MIN && (double)anonymous > 2 * live_high)
		comments_add(to,
			     "pprofagent: the process has %lu bytes of anonymous memory: most of it "
			     "did not come from malloc (mmap, stacks, a language's own heap), or was "
			     "freed and is kept by the allocator",
			     anonymous);
}

static void say_comment(void *to, const char *sentence)
{
	comments_add(to, "pprofagent: %s", sentence);
}

void heap_comment(const struct snapshot *snapshot, struct comments *comments)
{
	struct heap_state state;
	struct heap_estimate e;

	heap_state(&state);
	if (!state.base_rate) {
		comments_add(comments, "pprofagent: heap profiling is off (PPROF_MEMPROFILERATE=0)");
		return;
	}
	/* in a difference, shrinking rows say nothing about the error of their sum */
	if (!has_negative(snapshot)) {
		heapview_estimate(snapshot, INUSE_OBJECTS, &e);
		comment_estimate(comments, "inuse_space", &e);
		comment_rest(comments, e.high);
	}
	heapview_estimate(snapshot, ALLOC_OBJECTS, &e);
	comment_estimate(comments, "alloc_space", &e);
	if (state.rate != state.base_rate)
		comments_add(comments,
			     "pprofagent: one sample in %lu bytes instead of %lu: PPROF_MAX_MEM was "
			     "reached; totals stay right, errors grow",
			     state.rate, state.base_rate);
	foreign_say(say_comment, comments);
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

struct lines {
	char *buf;
	size_t size;
};

static void say_line(void *to, const char *sentence)
{
	struct lines *lines = to;
	size_t n = strlen(lines->buf);

	fmt_buf(lines->buf + n, lines->size - n, "# %s\n", sentence);
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
	foreign_say(say_line, &(struct lines){ buf, size });
}
