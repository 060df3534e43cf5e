/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/trace_state.h"

#include <string.h>

#include "agent/base/fmt.h"
#include "encode/grow.h"

struct trace_event trace_next(struct trace_merge *m, enum trace_op op, uint64_t ns, unsigned gap)
{
	uint64_t from = m->window.start_ns, ts = TRACE_FIRST_TS + (ns > from ? ns - from : 0);

	if (ts <= m->last_ts)
		ts = m->last_ts + 1;
	m->last_ts = ts + gap;
	return (struct trace_event){ .op = op, .ts = ts, .thread = m->window.agent_tid };
}

void trace_emit(struct trace_merge *m, const struct trace_event *e)
{
	m->enc.format->event(&m->enc, e);
}

/* An event in a thread's own lane. */
static struct trace_event own(struct trace_merge *m, const struct thread_run *t, enum trace_op op,
			      uint64_t ns)
{
	struct trace_event e = trace_next(m, op, ns, op == OP_PROC_START || op == OP_START || op == OP_CALL);

	e.proc = t->proc;
	e.lane = trace_lane_of(m, t);
	e.thread = t->id;
	e.g = t->id;
	return e;
}

static void emit_own(struct trace_merge *m, const struct thread_run *t, enum trace_op op, uint64_t ns)
{
	struct trace_event e = own(m, t, op, ns);

	trace_emit(m, &e);
}

static bool take_proc(struct trace_merge *m, struct thread_run *t)
{
	size_t had = m->procs_room, i = m->procs_from;

	while (i < had && !~m->procs_taken[i])
		i++;
	if (i == had) {
		if (!grow_room(&m->procs_taken, &m->procs_room, i + 1, sizeof(*m->procs_taken))) {
			m->tables.failed = true;
			return false;
		}
		memset(m->procs_taken + had, 0, (m->procs_room - had) * sizeof(*m->procs_taken));
		m->procs_taken[0] |= 1; /* the agent's */
	}
	m->procs_from = i;
	t->proc = (uint32_t)(i * 64) + (uint32_t)__builtin_ctzll(~m->procs_taken[i]);
	m->procs_taken[i] |= (uint64_t)1 << t->proc % 64;
	if (t->proc >= m->n_procs)
		m->n_procs = t->proc + 1;
	return true;
}

static void leave_proc(struct trace_merge *m, struct thread_run *t)
{
	size_t i = t->proc / 64;

	m->procs_taken[i] &= ~((uint64_t)1 << t->proc % 64);
	if (i < m->procs_from)
		m->procs_from = i;
	t->proc = 0;
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

bool trace_create(struct trace_merge *m, struct thread_run *t, const struct thread_run *creator,
		   uint32_t stack, uint64_t ns)
{
	struct trace_event e;

	if (t->state != NOT_CREATED)
		return false;
	name_thread(m, t);
	if (creator && creator->state == RUNNING)
		e = own(m, creator, OP_CREATE, ns);
	else
		e = trace_next(m, OP_CREATE, ns, 0);
	e.g = t->id;
	e.entry = t->entry;
	e.stack = stack;
	trace_emit(m, &e);
	t->state = RUNNABLE;
	t->linked = e.lane != 0;
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
	trace_emit(m, &e);
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
		trace_emit(m, &e);
}

/* The processor is its own and stopped. */
static void run(struct trace_merge *m, struct thread_run *t, uint64_t ns)
{
	struct trace_event e = own(m, t, OP_START, ns);

	e.seq = ++t->seq;
	e.text = t->label;
	e.entry = t->entry;
	e.linked = t->linked;
	trace_emit(m, &e);
	t->state = RUNNING;
	t->linked = false;
	if (m->enc.format->by_thread) {
		t->label = 0; /* said once */
		say_procs(m, t, ns);
	}
	say_notice(m, t, ns);
}

bool trace_start(struct trace_merge *m, struct thread_run *t, uint64_t ns)
{
	if (t->state != RUNNABLE || t->proc || t->wait || !take_proc(m, t))
		return false;
	emit_own(m, t, OP_PROC_START, ns);
	run(m, t, ns);
	return true;
}

bool trace_exist(struct trace_merge *m, struct thread_run *t, uint64_t ns)
{
	return trace_create(m, t, NULL, 0, ns) && trace_start(m, t, ns);
}

static enum trace_block block_kind(struct trace_merge *m, const struct trace_record *r, uint32_t stack,
				   uint32_t *out_text)
{
	const char *leaf = trace_tables_leaf(&m->tables, stack);
	char text[128];

	switch (r->reason) {
	case TRACE_CALL:
	case TRACE_IO:
		*out_text = trace_tables_text(&m->tables, leaf);
		return BLOCK_SYNC; /* is not asked for */
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

static bool is_call(const struct trace_record *r)
{
	return r->reason == TRACE_CALL || r->reason == TRACE_IO;
}

bool trace_wait_begins(struct trace_merge *m, struct thread_run *t, const struct trace_record *r,
			uint64_t ns)
{
	struct trace_event e;

	if (t->state != RUNNING)
		return false;
	e = own(m, t, is_call(r) ? OP_CALL : OP_BLOCK, ns);
	e.stack = trace_tables_stack(&m->tables, r->stack);
	if (!e.stack)
		e.stack = t->entry;
	e.block = block_kind(m, r, e.stack, &e.text);
	trace_emit(m, &e);
	emit_own(m, t, OP_PROC_STOP, ns);
	if (m->window.pool)
		leave_proc(m, t);
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
	trace_emit(m, &e);
	t->state = RUNNABLE;
	t->linked = by != t;
}

void trace_wait_woken(struct trace_merge *m, struct thread_run *t, const struct trace_record *r,
		       uint64_t ns)
{
	struct thread_run *waker = trace_find(m, r->waker);

	/* else it wakes itself when it runs: no arrow, no harm */
	if (t->state == WAITING && t->wait == r && !is_call(r) && waker && waker != t && waker->state == RUNNING)
		unblock(m, t, waker, ns);
}

/* Readers from 1.22 to 1.25 charge what follows a system call to it, up to the next event with a stack: so
 * the thread stops with its stack and goes on at once. */
static void leave_call(struct trace_merge *m, struct thread_run *t, const struct trace_record *r,
		       uint64_t ns)
{
	bool v1 = !m->enc.format->by_thread;
	struct trace_event e;

	/* v1's exit happens on a processor; v2's after the old one was lost, before there is a new one */
	if (v1)
		emit_own(m, t, OP_PROC_START, ns);
	e = own(m, t, OP_CALL_END, ns);
	e.seq = v1 ? ++t->seq : 0;
	trace_emit(m, &e);
	if (!v1)
		emit_own(m, t, OP_PROC_START, ns);
	run(m, t, ns);
	e = own(m, t, OP_STOP, ns);
	e.stack = trace_tables_stack(&m->tables, r->stack);
	if (!e.stack)
		e.stack = t->entry;
	e.text = trace_tables_text(&m->tables, "system call ends");
	trace_emit(m, &e);
	run(m, t, ns);
}

bool trace_wait_ends(struct trace_merge *m, struct thread_run *t, const struct trace_record *r,
		      uint64_t ns)
{
	if ((t->state != WAITING && t->state != RUNNABLE) || t->wait != r)
		return false;
	if (!t->proc && !take_proc(m, t))
		return false;
	if (is_call(r)) {
		leave_call(m, t, r, ns);
	} else {
		emit_own(m, t, OP_PROC_START, ns);
		if (t->state == WAITING)
			unblock(m, t, t, ns);
		run(m, t, ns);
	}
	t->wait = NULL;
	return true;
}

bool trace_end(struct trace_merge *m, struct thread_run *t, uint64_t ns)
{
	if (t->state != RUNNING)
		return false;
	emit_own(m, t, OP_END, ns);
	emit_own(m, t, OP_PROC_STOP, ns);
	leave_proc(m, t);
	t->state = ENDED;
	return true;
}

bool trace_sample(struct trace_merge *m, const struct thread_run *t, const struct trace_record *r)
{
	struct trace_event e;

	/* a sample must not come before its thread exists */
	if (t->state == NOT_CREATED || t->state == ENDED)
		return false;
	e = own(m, t, OP_SAMPLE, r->at_ns);
	e.proc = t->state == RUNNING ? t->proc : TRACE_NO_PROC;
	e.stack = trace_tables_stack(&m->tables, r->stack);
	trace_emit(m, &e);
	return true;
}

void trace_pause(struct trace_merge *m, struct thread_run *t, uint64_t ns)
{
	struct trace_event e;

	if (t->state != RUNNING)
		return;
	e = own(m, t, OP_STOP, ns);
	e.stack = t->entry;
	e.text = trace_tables_text(&m->tables, "end of trace");
	trace_emit(m, &e);
	emit_own(m, t, OP_PROC_STOP, ns);
	t->state = RUNNABLE;
}
