/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An execution trace is a job: recording, until the time is over or the memory is used up; then merging
 * and writing in slices. A reader refuses a file that is cut, so an answer that cannot be completed is
 * broken off visibly.
 */
#include "agent/serve_trace.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/budget.h"
#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/cpu.h"
#include "agent/collect/heap.h"
#include "agent/collect/peek.h"
#include "agent/collect/records.h"
#include "agent/collect/sweep.h"
#include "agent/collect/threads.h"
#include "agent/collect/tracebuf.h"
#include "agent/endpoint.h"
#include "agent/http/server.h"
#include "agent/options.h"
#include "agent/profiles.h"
#include "agent/trace_asleep.h"
#include "agent/trace_request.h"
#include "agent/tracenames.h"
#include "encode/trace_merge.h"

enum {
	SLICE_NS = 8000000,
	TICK_NS = 20000000, /* between two looks at the heap */
	/* records take this part of the memory that is free: merging takes as much again for its heap
	 * and tables, and the answer is gathered */
	SHARE = 4,
};

/* A thread that lived when the trace began. */
struct lived {
	uint32_t tag, tid, index;
	uint64_t start;
	uint64_t stamp;		  /* changes when it runs */
	struct trace_record wait; /* it slept then; TRACE_NOTHING: it ran */
};

/* One that waits when it ends. */
struct at_end {
	struct trace_record wait;
	uint32_t index;
};

struct trace_job {
	const struct profile *profile;
	const struct trace_format *format;
	struct tracenames *names;
	struct trace_window window;
	bool recording; /* tracebuf is ours */
	bool sampling;	/* holds a CPU session */
	int64_t heap_bytes;
	struct lived *lived;
	uint32_t n_lived, looked;
	struct at_end *ends;
	uint32_t n_ends, completed;
	struct peeker *peeker;
	struct trace_merge *merge;
	char process[TRACE_NAME];
	char notice[256];
};

static void drop(struct exchange *x)
{
	struct trace_job *j = x->state;

	if (!j)
		return;
	if (j->sampling)
		cpu_release();
	trace_merge_drop(j->merge);
	tracenames_drop(j->names);
	if (j->recording) {
		tracebuf_stop();
		tracebuf_free();
	}
	mem_free(j->lived);
	mem_free(j->ends);
	peek_end(j->peeker);
	mem_free(j);
	x->state = NULL;
}

static enum job_state no_memory(struct exchange *x)
{
	stat_add(STAT_NO_MEMORY, 1);
	reply_error(x, 500, "Could not enable tracing: PPROF_MAX_MEM is too small for it");
	return JOB_DONE;
}

/* ---- names ---- */

/* What the kernel calls a thread; "" when it is gone. */
static void read_name(uint32_t tid, char name[TRACE_NAME])
{
	char path[64];
	long n;

	fmt_buf(path, sizeof(path), "/proc/thread-self/../%u/comm", tid);
	n = sys_read_file(path, name, TRACE_NAME - 1);
	if (n > 0 && name[n - 1] == '\n')
		n--;
	name[n > 0 ? n : 0] = '\0';
}

/* ---- the end of the window: all that is known goes to the merger ---- */

static bool add_record(void *arg, const struct trace_record *record)
{
	struct trace_job *j = arg;
	uint8_t kind = atomic_load(&record->kind);
	bool ok = true;

	/* others have a name in their place */
	if (kind == TRACE_BEGIN || kind == TRACE_WAIT || kind == TRACE_SAMPLE)
		ok = tracenames_note(j->names, record->stack);
	if (kind == TRACE_WAIT)
		ok = ok && tracenames_note(j->names, record->waker_stack);
	return ok && trace_merge_add(j->merge, record);
}

static bool add_thread(struct trace_job *j, uint32_t tag, uint32_t tid, uint64_t start, bool existed)
{
	char name[TRACE_NAME];
	struct trace_thread t = {
		.tag = tag,
		.tid = tid,
		.existed = existed,
		.start = start,
		.entry = tid == (uint32_t)sys_getpid() ? "main" : NULL,
		.name = name,
	};

	read_name(tid, name);
	return trace_merge_thread(j->merge, &t);
}

static bool add_all(struct trace_job *j)
{
	/* names of those that did not live at the beginning, and still do */
	for (uint32_t i = 0, n = records_count(); i < n; i++) {
		struct thread *t = records_at(i);

		if (atomic_load(&t->state) == THREAD_LIVE &&
		    !add_thread(j, atomic_load(&t->tag), (uint32_t)atomic_load(&t->tid),
				(uintptr_t)t->start, false))
			return false;
	}
	for (uint32_t i = 0; i < j->n_lived; i++)
		if (!add_thread(j, j->lived[i].tag, j->lived[i].tid, j->lived[i].start, true))
			return false;
	if (!tracebuf_each(add_record, j))
		return false;
	for (uint32_t i = 0; i < j->n_ends; i++)
		if (j->ends[i].wait.kind && !add_record(j, &j->ends[i].wait))
			return false;
	for (uint32_t i = 0; i < j->n_lived; i++) {
		struct trace_record *wait = &j->lived[i].wait;

		if (wait->kind)
			trace_asleep_cut(tracenames_symbols(j->names), wait);
		if (wait->kind && (!tracenames_note(j->names, wait->stack) ||
				   !trace_merge_asleep(j->merge, wait)))
			return false;
	}
	return true;
}

/* Waits that go on: noted while threads still record, so that none is missed; what is seen twice is
 * dropped by the merger. */
static bool note_ends(struct trace_job *j)
{
	uint32_t n = records_count();

	j->ends = mem_zalloc((n + 1) * sizeof(*j->ends));
	if (!j->ends)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		struct at_end *end = &j->ends[j->n_ends];
		struct thread *t = records_at(i);

		end->index = i;
		if (atomic_load(&t->state) == THREAD_LIVE && tracebuf_waits(t, &end->wait))
			j->n_ends++;
	}
	return true;
}

static void make_notice(struct trace_job *j, uint64_t full_ns)
{
	size_t n = 0;

	if (full_ns) {
		stat_add(STAT_TRACE_FULL, 1);
		n = fmt_buf(j->notice, sizeof(j->notice),
			    "the trace ends after %f s because its share of PPROF_MAX_MEM is used up. ",
			    (double)(full_ns - j->window.start_ns) / 1e9);
	}
	if (!j->sampling)
		fmt_buf(j->notice + n, sizeof(j->notice) - n,
			"there are no CPU samples because no signal is free for them.");
	j->window.notice = j->notice[0] ? j->notice : NULL;
}

static enum job_state write_step(struct exchange *x, uint64_t now_ns)
{
	struct trace_job *j = x->state;
	int more = reply_full(x) ? 1 : trace_merge_step(j->merge, SLICE_NS);

	if (more < 0)
		return no_memory(x);
	if (more)
		return JOB_AGAIN;
	stat_add(STAT_TRACE_DROPPED, trace_merge_dropped(j->merge));
	return JOB_DONE;
}

/* Before the first stack is written. */
static enum job_state lines_wanted(struct exchange *x, uint64_t now_ns)
{
	struct trace_job *j = x->state;
	int more = tracenames_settle(j->names, SLICE_NS);

	if (more == 2)
		return endpoint_wait(x, tracenames_wait(j->names, &x->wake_ns));
	if (!more)
		x->step = write_step;
	return JOB_AGAIN;
}

static enum job_state merge_all(struct exchange *x)
{
	struct trace_job *j = x->state;

	j->merge = trace_merge_new(&j->window, tracenames_of(j->names));
	if (!j->merge || !add_all(j))
		return no_memory(x);
	reply_begin(x, 200, "application/octet-stream", j->profile->name);
	if (!trace_merge_begin(j->merge, j->format, &x->body))
		return no_memory(x);
	x->step = lines_wanted;
	return JOB_AGAIN;
}

static enum job_state complete_step(struct exchange *x, uint64_t now_ns)
{
	struct trace_job *j = x->state;

	for (; j->peeker && j->completed < j->n_ends; j->completed++) {
		struct at_end *end = &j->ends[j->completed];

		if (sys_clock_ns(CLOCK_MONOTONIC) - now_ns > SLICE_NS)
			return JOB_AGAIN;
		trace_asleep_complete(j->peeker, tracenames_symbols(j->names), records_at(end->index),
				      &end->wait);
	}
	return merge_all(x);
}

static enum job_state finish(struct exchange *x, uint64_t now_ns)
{
	struct trace_job *j = x->state;
	uint64_t full_ns = tracebuf_full_ns();

	if (!note_ends(j))
		return no_memory(x);
	j->window.end_ns = full_ns ? full_ns : now_ns;
	tracebuf_stop();
	make_notice(j, full_ns);
	if (j->sampling)
		cpu_release();
	j->sampling = false;
	read_name((uint32_t)sys_getpid(), j->process);
	j->window.process = j->process;
	j->names = tracenames_new(endpoint_symbolize(x));
	if (!j->names)
		return no_memory(x);
	x->step = complete_step;
	return JOB_AGAIN;
}

static enum job_state record_step(struct exchange *x, uint64_t now_ns)
{
	struct trace_job *j = x->state;
	struct heap_state heap;

	heap_state(&heap);
	if (heap.base_rate && heap.live_bytes != j->heap_bytes) {
		j->heap_bytes = heap.live_bytes;
		tracebuf_heap(sys_clock_ns(CLOCK_MONOTONIC),
			      heap.live_bytes > 0 ? (uint64_t)heap.live_bytes : 0);
	}
	if (now_ns >= j->window.end_ns || tracebuf_full_ns())
		return finish(x, now_ns);
	x->wake_ns = now_ns + TICK_NS < j->window.end_ns ? now_ns + TICK_NS : j->window.end_ns;
	return JOB_WAIT;
}

/* Looks at those who have slept since the window began. */
static enum job_state look_step(struct exchange *x, uint64_t now_ns)
{
	struct trace_job *j = x->state;
	uint64_t stamp = 0;

	for (; j->peeker && j->looked < j->n_lived && now_ns < j->window.end_ns; j->looked++) {
		struct lived *l = &j->lived[j->looked];

		if (sys_clock_ns(CLOCK_MONOTONIC) - now_ns > SLICE_NS)
			return JOB_AGAIN;
		if (!trace_asleep_look(j->peeker, records_at(l->index), &l->wait, &stamp) ||
		    stamp != l->stamp || l->wait.tag != l->tag)
			l->wait.kind = TRACE_NOTHING;
	}
	x->step = record_step;
	return record_step(x, now_ns);
}

/* ---- the beginning ---- */

static bool note_threads(struct trace_job *j)
{
	uint32_t n;

	sweep_threads();
	n = records_count();
	j->lived = mem_alloc((n + 1) * sizeof(*j->lived));
	if (!j->lived)
		return false;
	j->peeker = peek_begin();
	for (uint32_t i = 0; i < n; i++) {
		struct thread *t = records_at(i);
		int tid = atomic_load(&t->tid);

		if (atomic_load(&t->state) == THREAD_LIVE)
			j->lived[j->n_lived++] = (struct lived){
				.tag = atomic_load(&t->tag),
				.tid = (uint32_t)tid,
				.index = i,
				.start = (uintptr_t)t->start,
				.stamp = j->peeker ? task_stamp(peek_directory(j->peeker), tid) : 0,
			};
	}
	return true;
}

/* Samples at the rate of those that are being taken already, if any are. */
static bool begin_sampling(void)
{
	uint64_t period = cpu_period_ns();

	return cpu_acquire(period ? (unsigned)(1000000000u / period) :
				    (unsigned)options->cpu_profile_rate) == 0;
}

static void refuse(struct exchange *x, const char *text)
{
	reply_error(x, 500, text);
	drop(x);
}

/* The state is made, nothing of it has begun. */
static void begin(struct exchange *x, uint64_t ns)
{
	struct trace_job *j = x->state;
	size_t used = budget_used(), limit = budget_limit();
	int err = tracebuf_begin(limit > used ? (limit - used) / SHARE : 0);

	if (err) {
		refuse(x, err == -EBUSY ? "Could not enable tracing: runtime error: tracing is already "
					  "enabled" :
					  "Could not enable tracing: PPROF_MAX_MEM is too small for it");
		return;
	}
	j->recording = true;
	if (!note_threads(j)) {
		no_memory(x);
		drop(x);
		return;
	}
	j->window.agent_tid = (uint32_t)sys_gettid();
	j->window.pid = (uint32_t)sys_getpid();
	/* before the timers: who sees one of them knows that the window has begun */
	j->window.start_ns = sys_clock_ns(CLOCK_MONOTONIC);
	j->window.end_ns = j->window.start_ns + ns;
	j->sampling = begin_sampling();
	x->wake_ns = j->window.start_ns;
	x->step = look_step;
}

void serve_trace(const struct profile *profile, struct exchange *x)
{
	struct trace_request asked;
	const char *wrong = trace_request_read(x, &asked);
	struct trace_job *j;

	if (wrong) {
		reply_error(x, 400, wrong);
		return;
	}
	if (x->request.method == METHOD_HEAD) {
		reply_begin(x, 200, "application/octet-stream", profile->name);
		return;
	}
	j = mem_zalloc(sizeof(*j));
	if (!j) {
		no_memory(x);
		return;
	}
	j->profile = profile;
	j->format = asked.format;
	j->window.pool = asked.pool;
	x->state = j;
	x->drop = drop;
	begin(x, asked.ns);
}
