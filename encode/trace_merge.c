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

enum {
	FIRST_TS = 1000, /* of the first moment of the window: 0 would be "unknown" to some readers */
	SLICE = 64,	 /* records between two looks at the clock */
	FIRST_SLOTS = 64,
};

enum state { NOT_CREATED, RUNNABLE, RUNNING, WAITING, ENDED };

struct thread_run {
	uint32_t tag, tid;
	uint64_t id;	/* tid, made unique */
	uint64_t start;
	uint32_t entry, label; /* stack and text ids, 0: not asked yet, none */
	const char *entry_name, *name;
	char own_name[TRACE_NAME];
	bool existed;
	enum state state;
	uint32_t proc; /* 0: none */
	uint64_t seq;
	const struct trace_record *wait; /* WAITING or just woken from it */
};

struct pending {
	uint64_t ns;
	const struct trace_record *record; /* NULL: the thread `order` exists */
	uint32_t order;
	uint32_t phase;
};

enum stage { MERGE, RESOLVE, STRINGS, STACKS, WRITTEN };

struct trace_merge {
	struct trace_window window;
	struct trace_tables tables;
	struct trace_encoder enc;
	struct thread_run *threads; /* lane - 1 */
	size_t n_threads, threads_room;
	uint32_t *slots; /* lane, by tag */
	size_t n_slots;
	struct pending *heap;
	size_t n_heap, heap_room;
	uint32_t added;
	uint8_t *proc_taken; /* by number */
	size_t n_procs, procs_room;
	uint64_t last_ts;
	uint64_t dropped;
	bool procs_said, noticed, created;
	enum stage stage;
	size_t at; /* in that stage */
};

/* ---- threads by tag ---- */

static uint32_t *slot_of(uint32_t *slots, size_t n, const struct thread_run *threads, uint32_t tag)
{
	size_t i = grow_hash(tag) & (n - 1);

	while (slots[i] && threads[slots[i] - 1].tag != tag)
		i = (i + 1) & (n - 1);
	return &slots[i];
}

static struct thread_run *find(const struct trace_merge *m, uint32_t tag)
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
	struct thread_run *t = find(m, tag);

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

static uint32_t lane_of(const struct trace_merge *m, const struct thread_run *t)
{
	return (uint32_t)(t - m->threads) + 1;
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
	mem_free(m->proc_taken);
	mem_free(m);
}

bool trace_merge_thread(struct trace_merge *m, const struct trace_thread *thread)
{
	struct thread_run *t = thread_of(m, thread->tag, thread->tid);
	bool existed;

	if (!t)
		return false;
	existed = t->existed;
	t->tid = thread->tid;
	t->start = thread->start ? thread->start : t->start;
	t->entry_name = thread->entry ? thread->entry : t->entry_name;
	if (thread->name) {
		fmt_buf(t->own_name, sizeof(t->own_name), "%s", thread->name);
	}
	t->existed |= thread->existed;
	/* before all that happened at the same moment */
	return !thread->existed || existed ||
	       push(m, m->window.start_ns, NULL, lane_of(m, t) - 1);
}

bool trace_merge_add(struct trace_merge *m, const struct trace_record *r)
{
	uint64_t from = m->window.start_ns;
	struct thread_run *t;

	if (r->kind == TRACE_HEAP)
		return push(m, r->at_ns, r, UINT32_MAX / 2 + m->added++);
	t = thread_of(m, r->tag, r->tid);
	if (!t)
		return false;
	if (r->kind == TRACE_BEGIN)
		t->start = r->value;
	if (r->kind == TRACE_END)
		memcpy(t->own_name, r->name, sizeof(t->own_name) - 1);
	return push(m, r->at_ns > from ? r->at_ns : from, r, UINT32_MAX / 2 + m->added++);
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

/* ---- the state machine ---- */

/* What all events have in common: the next moment, not before `ns`. gap: moments that it takes. */
static struct trace_event event(struct trace_merge *m, enum trace_op op, uint64_t ns, unsigned gap)
{
	uint64_t from = m->window.start_ns, ts = FIRST_TS + (ns > from ? ns - from : 0);

	if (ts <= m->last_ts)
		ts = m->last_ts + 1;
	m->last_ts = ts + gap;
	return (struct trace_event){ .op = op, .ts = ts, .thread = m->window.agent_tid };
}

static void emit(struct trace_merge *m, const struct trace_event *e)
{
	m->enc.format->event(&m->enc, e);
}

/* An event in a thread's own lane. */
static struct trace_event own(struct trace_merge *m, const struct thread_run *t, enum trace_op op,
			      uint64_t ns)
{
	struct trace_event e = event(m, op, ns, op == OP_PROC_START || op == OP_START);

	e.proc = t->proc;
	e.lane = lane_of(m, t);
	e.thread = t->id;
	e.g = t->id;
	return e;
}

static void emit_own(struct trace_merge *m, const struct thread_run *t, enum trace_op op, uint64_t ns)
{
	struct trace_event e = own(m, t, op, ns);

	emit(m, &e);
}

static bool take_proc(struct trace_merge *m, struct thread_run *t)
{
	size_t i = 1;

	while (i < m->n_procs && m->proc_taken[i])
		i++;
	if (i >= m->n_procs) {
		if (!grow_room(&m->proc_taken, &m->procs_room, i + 1, 1))
			return false;
		m->n_procs = i + 1;
	}
	m->proc_taken[i] = 1;
	t->proc = (uint32_t)i;
	return true;
}

/* Where all threads of a library begin: says nothing of what the thread is for. */
static bool is_generic(const char *entry)
{
	return strstr(entry, "execute_native_thread_routine") || strstr(entry, "thread_start") ||
	       strstr(entry, "_State_impl");
}

static void name_thread(struct trace_merge *m, struct thread_run *t)
{
	const char *entry = t->entry_name;
	uint64_t pc = t->start ? t->start : (uint64_t)1 << 46;
	size_t n = strlen("runtime.");

	if (t->own_name[0] && strcmp(t->own_name, m->window.process) != 0)
		t->label = trace_tables_text(&m->tables, t->own_name);
	if (!entry && t->start)
		entry = m->tables.names->function(m->tables.names, t->start, TRACE_NOW);
	/* readers take "runtime." for their own threads and hide them */
	if (!entry || !entry[0] || !strncmp(entry, "runtime.", n) || (t->label && is_generic(entry)))
		entry = t->own_name[0] && strncmp(t->own_name, "runtime.", n) ? t->own_name : "thread";
	if (!t->start) /* readers know an entry by its address */
		pc += (uint64_t)trace_tables_text(&m->tables, entry) << 4;
	t->entry = trace_tables_entry(&m->tables, pc, entry);
}

/* creator: NULL, or one that runs; else nobody is to blame. */
static bool create(struct trace_merge *m, struct thread_run *t, const struct thread_run *creator,
		   uint32_t stack, uint64_t ns)
{
	struct trace_event e;

	if (t->state != NOT_CREATED)
		return false;
	name_thread(m, t);
	if (creator && creator->state == RUNNING)
		e = own(m, creator, OP_CREATE, ns);
	else
		e = event(m, OP_CREATE, ns, 0);
	e.g = t->id;
	e.entry = t->entry;
	e.stack = stack;
	emit(m, &e);
	t->state = RUNNABLE;
	m->created = true;
	return true;
}

static void say_procs(struct trace_merge *m, const struct thread_run *t, uint64_t ns)
{
	struct trace_event e;

	if (m->procs_said)
		return;
	m->procs_said = true;
	e = own(m, t, OP_PROCS, ns);
	e.value = m->n_procs;
	emit(m, &e);
}

static void say_notice(struct trace_merge *m, const struct thread_run *t, uint64_t ns)
{
	struct trace_event e;

	if (m->noticed || !m->window.notice)
		return;
	m->noticed = true;
	e = own(m, t, OP_LOG, ns);
	e.text = trace_tables_text(&m->tables, "pprofagent");
	e.text2 = trace_tables_text(&m->tables, m->window.notice);
	e.stack = t->entry;
	if (e.text && e.text2)
		emit(m, &e);
}

/* The processor is its own and stopped. */
static void run(struct trace_merge *m, struct thread_run *t, uint64_t ns)
{
	struct trace_event e = own(m, t, OP_START, ns);

	e.seq = ++t->seq;
	e.text = t->label;
	emit(m, &e);
	t->state = RUNNING;
	if (m->enc.format->by_thread) {
		t->label = 0; /* said once */
		say_procs(m, t, ns);
	}
	say_notice(m, t, ns);
}

static bool start(struct trace_merge *m, struct thread_run *t, uint64_t ns)
{
	if (t->state != RUNNABLE || t->proc || !take_proc(m, t))
		return false;
	emit_own(m, t, OP_PROC_START, ns);
	run(m, t, ns);
	return true;
}

static bool exist(struct trace_merge *m, struct thread_run *t, uint64_t ns)
{
	return create(m, t, NULL, 0, ns) && start(m, t, ns);
}

static enum trace_block block_kind(struct trace_merge *m, const struct trace_record *r, uint32_t stack,
				   uint32_t *out_text)
{
	const char *leaf = trace_tables_leaf(&m->tables, stack);
	char text[128];

	switch (r->reason) {
	case TRACE_SLEEP:
		*out_text = trace_tables_text(&m->tables, "sleep");
		return BLOCK_SLEEP;
	case TRACE_NET:
		*out_text = trace_tables_text(&m->tables, "network");
		return BLOCK_NET;
	default:
		fmt_buf(text, sizeof(text), "sync (%s)", leaf);
		*out_text = trace_tables_text(&m->tables, text);
		return !strncmp(leaf, "pthread_cond_", 13) || !strncmp(leaf, "cnd_", 4) ? BLOCK_COND :
											  BLOCK_SYNC;
	}
}

static bool wait_begins(struct trace_merge *m, struct thread_run *t, const struct trace_record *r,
			uint64_t ns)
{
	struct trace_event e;

	if (t->state != RUNNING)
		return false;
	e = own(m, t, OP_BLOCK, ns);
	e.stack = trace_tables_stack(&m->tables, r->stack);
	if (!e.stack)
		e.stack = t->entry;
	e.block = block_kind(m, r, e.stack, &e.text);
	emit(m, &e);
	emit_own(m, t, OP_PROC_STOP, ns);
	t->state = WAITING;
	t->wait = r;
	return true;
}

/* Somebody ended the wait: readers draw an arrow. by == t: nobody did. */
static void unblock(struct trace_merge *m, struct thread_run *t, const struct thread_run *by, uint64_t ns)
{
	const struct trace_record *r = t->wait;
	struct trace_event e = own(m, by, OP_UNBLOCK, ns);

	e.g = t->id;
	e.seq = ++t->seq;
	/* without a stack some readers would not see that the wait is over */
	e.stack = trace_tables_stack(&m->tables, by != t && r->waker_stack ? r->waker_stack : r->stack);
	if (!e.stack)
		e.stack = t->entry;
	emit(m, &e);
	t->state = RUNNABLE;
}

static void wait_woken(struct trace_merge *m, struct thread_run *t, const struct trace_record *r,
		       uint64_t ns)
{
	struct thread_run *waker = find(m, r->waker);

	/* else it wakes itself when it runs: no arrow, no harm */
	if (t->state == WAITING && t->wait == r && waker && waker != t && waker->state == RUNNING)
		unblock(m, t, waker, ns);
}

static bool wait_ends(struct trace_merge *m, struct thread_run *t, const struct trace_record *r,
		      uint64_t ns)
{
	if ((t->state != WAITING && t->state != RUNNABLE) || t->wait != r)
		return false;
	emit_own(m, t, OP_PROC_START, ns);
	if (t->state == WAITING)
		unblock(m, t, t, ns);
	run(m, t, ns);
	t->wait = NULL;
	return true;
}

static bool end(struct trace_merge *m, struct thread_run *t, uint64_t ns)
{
	if (t->state != RUNNING)
		return false;
	emit_own(m, t, OP_END, ns);
	emit_own(m, t, OP_PROC_STOP, ns);
	m->proc_taken[t->proc] = 0;
	t->proc = 0;
	t->state = ENDED;
	return true;
}

static bool sample(struct trace_merge *m, const struct thread_run *t, const struct trace_record *r)
{
	struct trace_event e;

	/* a sample must not come before its thread exists */
	if (t->state == NOT_CREATED || t->state == ENDED)
		return false;
	e = own(m, t, OP_SAMPLE, r->at_ns);
	e.proc = t->state == RUNNING ? t->proc : TRACE_NO_PROC;
	e.stack = trace_tables_stack(&m->tables, r->stack);
	emit(m, &e);
	return true;
}

/* The first of the heap takes place. */
static void happen(struct trace_merge *m)
{
	struct pending p = m->heap[0];
	const struct trace_record *r = p.record;
	struct thread_run *t;
	bool legal = true;

	if (!r) {
		exist(m, &m->threads[p.order], p.ns);
		pop(m);
		return;
	}
	if (r->kind == TRACE_HEAP) {
		struct trace_event e = event(m, OP_HEAP, p.ns, 0);

		e.value = r->value;
		emit(m, &e);
		pop(m);
		return;
	}
	t = find(m, r->tag);
	/* nobody told us that it began */
	if (t->state == NOT_CREATED && r->kind != TRACE_BEGIN)
		exist(m, t, p.ns);
	switch (r->kind) {
	case TRACE_BEGIN:
		if (p.phase == 0 && create(m, t, find(m, r->waker),
					   trace_tables_stack(&m->tables, r->stack), p.ns)) {
			again(m, r->until_ns > p.ns ? r->until_ns : p.ns);
			return;
		}
		legal = p.phase && start(m, t, p.ns);
		break;
	case TRACE_END:
		legal = end(m, t, p.ns);
		break;
	case TRACE_WAIT:
		if (p.phase == 0 && wait_begins(m, t, r, p.ns)) {
			again(m, r->waker && r->woken_ns > p.ns ? r->woken_ns : p.ns);
			return;
		}
		if (p.phase == 1) {
			wait_woken(m, t, r, p.ns);
			again(m, r->until_ns > p.ns ? r->until_ns : p.ns);
			return;
		}
		legal = p.phase && wait_ends(m, t, r, p.ns);
		break;
	case TRACE_SAMPLE:
		legal = sample(m, t, r);
		break;
	default:
		legal = false;
	}
	m->dropped += !legal;
	pop(m);
}

/* ---- writing ---- */

static void begin(struct trace_merge *m)
{
	struct trace_event e;

	if (!m->enc.format->by_thread) {
		e = event(m, OP_PROCS, m->window.start_ns, 0);
		e.value = m->n_threads + 1;
		emit(m, &e);
	}
	e = event(m, m->enc.format->by_thread ? OP_PROC_IS : OP_PROC_START, m->window.start_ns, 1);
	emit(m, &e);
}

/* Whoever runs must be stopped: readers before 1.22 fail otherwise. */
static void finish(struct trace_merge *m)
{
	struct thread_run nobody = { .tid = m->window.agent_tid, .id = m->window.agent_tid };
	uint64_t ns = m->window.end_ns;
	struct trace_event e;

	/* readers refuse a trace without a goroutine */
	if (!m->created)
		create(m, &nobody, NULL, 0, ns);
	for (size_t i = 0; i < m->n_threads; i++) {
		struct thread_run *t = &m->threads[i];

		if (t->state != RUNNING)
			continue;
		e = own(m, t, OP_STOP, ns);
		e.stack = t->entry;
		e.text = trace_tables_text(&m->tables, "end of trace");
		emit(m, &e);
		emit_own(m, t, OP_PROC_STOP, ns);
		t->state = RUNNABLE;
	}
	e = event(m, OP_PROC_STOP, ns, 0);
	emit(m, &e);
	trace_encoder_footer(&m->enc, m->last_ts + 1);
}

static void merge_some(struct trace_merge *m)
{
	if (!m->at++)
		begin(m);
	for (unsigned i = 0; i < SLICE; i++) {
		if (!m->n_heap || m->heap[0].ns >= m->window.end_ns) {
			finish(m);
			m->stage = RESOLVE;
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
