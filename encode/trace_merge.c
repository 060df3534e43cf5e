/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records lie in a heap by their next moment: a wait comes up three times (it begins, it is ended by
 * somebody, the thread runs), the beginning of a thread twice. So no sorted copy is needed, and the work
 * can be left and taken up at any record.
 */
#include "encode/trace_merge.h"

#include <errno.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "encode/grow.h"
#include "encode/trace_state.h"

enum {
	SLICE = 64,	 /* records between two looks at the clock */
	FIRST_SLOTS = 64,
};

/* At one moment: what was so when the window began, thread by thread in this order; then records in the
 * order in which they were added. */
enum first { EXISTS, WAITS, WAITS_FOR_EVER, FIRSTS };

static uint32_t first_of(const struct trace_merge *m, const struct thread_run *t, enum first what)
{
	return FIRSTS * (trace_lane_of(m, t) - 1) + what;
}

static uint32_t next_of(struct trace_merge *m)
{
	return UINT32_MAX / 2 + m->added++;
}

/* ---- threads by tag ---- */

static uint32_t *slot_of(uint32_t *slots, size_t n, const struct thread_run *threads, uint32_t tag)
{
	size_t i = grow_hash(tag) & (n - 1);

	while (slots[i] && threads[slots[i] - 1].tag != tag)
		i = (i + 1) & (n - 1);
	return &slots[i];
}

struct thread_run *trace_find(const struct trace_merge *m, uint32_t tag)
{
	uint32_t lane = tag ? *slot_of(m->slots, m->n_slots, m->threads, tag) : 0;

	return lane ? &m->threads[lane - 1] : NULL;
}

static bool slots_double(struct trace_merge *m)
{
	size_t n = m->n_slots * 2;
	uint32_t *slots = mem_zalloc(n * sizeof(*slots));

	if (!slots)
		return false;
	for (size_t i = 0; i < m->n_threads; i++)
		*slot_of(slots, n, m->threads, m->threads[i].tag) = (uint32_t)i + 1;
	mem_free(m->slots);
	m->slots = slots;
	m->n_slots = n;
	return true;
}

/* The thread of a tag, made if need be; NULL when out of memory. */
static struct thread_run *thread_of(struct trace_merge *m, uint32_t tag, uint32_t tid)
{
	struct thread_run *t = trace_find(m, tag);

	if (t)
		return t;
	if (!grow_room(&m->threads, &m->threads_room, m->n_threads + 1, sizeof(*m->threads)) ||
	    (m->n_threads * 2 >= m->n_slots && !slots_double(m)))
		return NULL;
	t = &m->threads[m->n_threads++];
	memset(t, 0, sizeof(*t));
	t->tag = tag;
	t->tid = tid;
	*slot_of(m->slots, m->n_slots, m->threads, tag) = (uint32_t)m->n_threads;
	return t;
}

/* ---- the heap ---- */

static bool before(const struct pending *a, const struct pending *b)
{
	return a->ns != b->ns ? a->ns < b->ns : a->order < b->order;
}

static void sift_down(struct trace_merge *m, size_t i)
{
	struct pending moved = m->heap[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= m->n_heap)
			break;
		if (child + 1 < m->n_heap && before(&m->heap[child + 1], &m->heap[child]))
			child++;
		if (!before(&m->heap[child], &moved))
			break;
		m->heap[i] = m->heap[child];
		i = child;
	}
	m->heap[i] = moved;
}

static void pop(struct trace_merge *m)
{
	m->heap[0] = m->heap[--m->n_heap];
	if (m->n_heap)
		sift_down(m, 0);
}

/* The first one comes up again at this moment. */
static void again(struct trace_merge *m, uint64_t ns)
{
	m->heap[0].ns = ns;
	m->heap[0].phase++;
	sift_down(m, 0);
}

static bool push(struct trace_merge *m, uint64_t ns, const struct trace_record *record, uint32_t order)
{
	size_t i = m->n_heap;

	if (!grow_room(&m->heap, &m->heap_room, i + 1, sizeof(*m->heap)))
		return false;
	m->n_heap++;
	m->heap[i] = (struct pending){ .ns = ns, .record = record, .order = order };
	for (; i && before(&m->heap[i], &m->heap[(i - 1) / 2]); i = (i - 1) / 2) {
		struct pending up = m->heap[(i - 1) / 2];

		m->heap[(i - 1) / 2] = m->heap[i];
		m->heap[i] = up;
	}
	return true;
}

/* ---- adding ---- */

struct trace_merge *trace_merge_new(const struct trace_window *window, struct trace_names *names)
{
	struct trace_merge *m = mem_zalloc(sizeof(*m));

	if (!m)
		return NULL;
	m->window = *window;
	m->n_slots = FIRST_SLOTS;
	m->slots = mem_zalloc(FIRST_SLOTS * sizeof(*m->slots));
	if (trace_tables_init(&m->tables, names) && m->slots)
		return m;
	trace_merge_drop(m);
	return NULL;
}

void trace_merge_drop(struct trace_merge *m)
{
	if (!m)
		return;
	trace_encoder_free(&m->enc);
	trace_tables_free(&m->tables);
	mem_free(m->threads);
	mem_free(m->slots);
	mem_free(m->heap);
	mem_free(m->procs_taken);
	mem_free(m);
}

/* It runs when the window begins, or waits already. */
static bool existed(struct trace_merge *m, struct thread_run *t)
{
	bool known = t->existed;

	t->existed = true;
	return known || push(m, m->window.start_ns, NULL, first_of(m, t, EXISTS));
}

bool trace_merge_thread(struct trace_merge *m, const struct trace_thread *thread)
{
	struct thread_run *t = thread_of(m, thread->tag, thread->tid);

	if (!t)
		return false;
	t->tid = thread->tid;
	t->start = thread->start ? thread->start : t->start;
	t->entry_name = thread->entry ? thread->entry : t->entry_name;
	if (thread->name) {
		fmt_buf(t->own_name, sizeof(t->own_name), "%s", thread->name);
	}
	return !thread->existed || existed(m, t);
}

bool trace_merge_add(struct trace_merge *m, const struct trace_record *r)
{
	uint64_t from = m->window.start_ns;
	struct thread_run *t;

	if (r->kind == TRACE_HEAP)
		return push(m, r->at_ns, r, next_of(m));
	t = thread_of(m, r->tag, r->tid);
	if (!t)
		return false;
	if (r->kind == TRACE_BEGIN)
		t->start = r->value;
	if (r->kind == TRACE_END)
		memcpy(t->own_name, r->name, sizeof(t->own_name) - 1);
	/* recording begins before the window does */
	if (r->kind == TRACE_BEGIN && r->until_ns <= from)
		return existed(m, t);
	if ((r->kind == TRACE_WAIT && r->until_ns <= from) || (r->kind == TRACE_SAMPLE && r->at_ns < from))
		return true;
	if (!t->first_ns || r->at_ns < t->first_ns)
		t->first_ns = r->at_ns ? r->at_ns : 1;
	/* who waits already gives the processor back before the next one is there */
	if (r->kind == TRACE_WAIT && r->at_ns <= from)
		return push(m, from, r, first_of(m, t, r->until_ns == TRACE_NEVER ? WAITS_FOR_EVER : WAITS));
	return push(m, r->at_ns > from ? r->at_ns : from, r, next_of(m));
}

bool trace_merge_asleep(struct trace_merge *m, struct trace_record *record)
{
	const struct thread_run *t = trace_find(m, record->tag);

	if (!t || (t->first_ns && t->first_ns <= m->window.start_ns))
		return true;
	record->at_ns = m->window.start_ns;
	record->until_ns = t->first_ns ? t->first_ns : TRACE_NEVER;
	return push(m, record->at_ns, record, first_of(m, t, WAITS));
}

/* Readers want an id for once and all, and the kernel gives tids out again: the second thread of a tid has
 * a number in its id. false when out of memory. */
static bool make_ids(struct trace_merge *m)
{
	struct { uint32_t tid, times; } *seen;
	size_t n = FIRST_SLOTS;

	while (n < m->n_threads * 2)
		n *= 2;
	seen = mem_zalloc(n * sizeof(*seen));
	if (!seen)
		return false;
	for (size_t i = 0; i < m->n_threads; i++) {
		struct thread_run *t = &m->threads[i];
		size_t at = grow_hash(t->tid) & (n - 1);

		while (seen[at].times && seen[at].tid != t->tid)
			at = (at + 1) & (n - 1);
		seen[at].tid = t->tid;
		t->id = t->tid | (uint64_t)seen[at].times++ << 24;
	}
	mem_free(seen);
	return true;
}

bool trace_merge_begin(struct trace_merge *m, const struct trace_format *format, struct sink *sink)
{
	if (!make_ids(m))
		return false;
	trace_encoder_begin(&m->enc, format, sink, &m->tables);
	return true;
}

uint64_t trace_merge_dropped(const struct trace_merge *m)
{
	return m->dropped;
}

/* The first of the heap takes place. */
static void happen(struct trace_merge *m)
{
	struct pending p = m->heap[0];
	const struct trace_record *r = p.record;
	struct thread_run *t;
	bool legal = true;

	if (!r) {
		trace_exist(m, &m->threads[p.order / FIRSTS], p.ns);
		pop(m);
		return;
	}
	if (r->kind == TRACE_HEAP) {
		struct trace_event e = trace_next(m, OP_HEAP, p.ns, 0);

		e.value = r->value;
		trace_emit(m, &e);
		pop(m);
		return;
	}
	t = trace_find(m, r->tag);
	/* nobody told us that it began; a thread that only ended is a record that the agent had made twice */
	if (t->state == NOT_CREATED && r->kind != TRACE_BEGIN && r->kind != TRACE_END)
		trace_exist(m, t, p.ns);
	switch ((enum trace_kind)r->kind) {
	case TRACE_BEGIN:
		if (p.phase == 0 && trace_create(m, t, trace_find(m, r->waker),
					   trace_tables_stack(&m->tables, r->stack), p.ns)) {
			again(m, r->until_ns > p.ns ? r->until_ns : p.ns);
			return;
		}
		legal = p.phase && trace_start(m, t, p.ns);
		break;
	case TRACE_END:
		legal = trace_end(m, t, p.ns);
		break;
	case TRACE_WAIT:
		if (p.phase == 0 && trace_wait_begins(m, t, r, p.ns)) {
			again(m, r->waker && r->woken_ns > p.ns ? r->woken_ns : p.ns);
			return;
		}
		if (p.phase == 1) {
			trace_wait_woken(m, t, r, p.ns);
			again(m, r->until_ns > p.ns ? r->until_ns : p.ns);
			return;
		}
		legal = p.phase && trace_wait_ends(m, t, r, p.ns);
		break;
	case TRACE_SAMPLE:
		legal = trace_sample(m, t, r);
		break;
	default:
		legal = false;
	}
	/* known twice: a wait seen under way that ended before recording did, and a thread that was seen to
	 * live while it noted its beginning */
	if (r->kind == TRACE_WAIT && r->until_ns == TRACE_NEVER)
		legal = true;
	if (r->kind == TRACE_BEGIN && t->existed)
		legal = true;
	m->dropped += !legal;
	pop(m);
}

/* ---- writing ---- */

static void begin(struct trace_merge *m)
{
	struct trace_event e;

	if (!m->enc.format->by_thread) {
		e = trace_next(m, OP_PROCS, m->window.start_ns, 0);
		e.value = m->n_threads + 1;
		trace_emit(m, &e);
	}
	e = trace_next(m, m->enc.format->by_thread ? OP_PROC_IS : OP_PROC_START, m->window.start_ns, 1);
	e.text = trace_tables_text(&m->tables, m->window.process);
	e.value = m->window.pid;
	trace_emit(m, &e);
}

static void finish(struct trace_merge *m)
{
	struct thread_run nobody = { .tid = m->window.agent_tid, .id = m->window.agent_tid };
	uint64_t ns = m->window.end_ns;
	struct trace_event e;

	/* readers refuse a trace without a goroutine */
	if (!m->created)
		trace_create(m, &nobody, NULL, 0, ns);
	for (size_t i = 0; i < m->n_threads; i++)
		trace_pause(m, &m->threads[i], ns);
	e = trace_next(m, OP_PROC_STOP, ns, 0);
	trace_emit(m, &e);
	trace_encoder_footer(&m->enc, m->last_ts + 1);
}

static void merge_some(struct trace_merge *m)
{
	if (!m->at++)
		begin(m);
	for (unsigned i = 0; i < SLICE; i++) {
		if (!m->n_heap || m->heap[0].ns >= m->window.end_ns) {
			finish(m);
			m->stage = m->enc.format->string ? RESOLVE : WRITTEN;
			m->at = 0;
			return;
		}
		happen(m);
	}
}

static void next_stage(struct trace_merge *m, size_t n)
{
	if (++m->at < n)
		return;
	m->stage++;
	m->at = 0;
}

static void write_some(struct trace_merge *m)
{
	struct trace_frame frames[TRACE_FRAMES_MAX];
	const struct strtab_text *text;
	unsigned n;

	switch (m->stage) {
	case MERGE:
		merge_some(m);
		break;
	case RESOLVE:
		trace_tables_frames(&m->tables, (uint32_t)m->at + 1, frames);
		next_stage(m, m->tables.n_stacks);
		break;
	case STRINGS: /* number 0 is "" */
		text = strtab_get(&m->tables.strings, m->at);
		if (m->at)
			m->enc.format->string(&m->enc, (uint32_t)m->at, text->text,
					      text->len < TRACE_TEXT_MAX ? text->len :
									   TRACE_TEXT_MAX);
		next_stage(m, m->tables.strings.n);
		break;
	case STACKS:
		n = trace_tables_frames(&m->tables, (uint32_t)m->at + 1, frames);
		m->enc.format->stack(&m->enc, (uint32_t)m->at + 1, frames, n);
		next_stage(m, m->tables.n_stacks);
		if (m->stage == WRITTEN)
			m->enc.format->end(&m->enc);
		break;
	case WRITTEN:
		break;
	}
}

int trace_merge_step(struct trace_merge *m, uint64_t budget_ns)
{
	uint64_t until = sys_clock_ns(CLOCK_MONOTONIC) + budget_ns;

	while (m->stage != WRITTEN) {
		write_some(m);
		if (m->tables.failed)
			return -ENOMEM;
		if (m->enc.err)
			return m->enc.err;
		if (sys_clock_ns(CLOCK_MONOTONIC) >= until)
			break;
	}
	return m->stage != WRITTEN;
}
