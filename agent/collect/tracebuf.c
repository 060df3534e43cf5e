/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may still write when a trace ends: a thread says so in `busy` before it looks at the session's
 * number, so that the agent, which takes the number away first and then looks at `busy`, either sees it
 * or is seen. A thread that lost its processor in between keeps its chunk until a later look.
 */
#include "agent/base/attr.h"
#include "agent/collect/tracebuf.h"

#include <errno.h>
#include <string.h>

#include "agent/base/budget.h"
#include "agent/base/spin.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/base/tls.h"
#include "agent/collect/locks.h"
#include "agent/collect/modules.h"
#include "agent/collect/record.h"
#include "agent/collect/records.h"
#include "agent/collect/stacks.h"
#include "agent/collect/threads.h"

enum {
	CHUNK_SIZE = 8192,
	CHUNK_RECORDS = CHUNK_SIZE / sizeof(struct trace_record) - 1,
	STOP_MS = 50,
	GET_NAME = 16, /* PR_GET_NAME */
};

struct trace_chunk {
	struct trace_chunk *next;
	const struct thread *owner; /* NULL: the agent */
	_Atomic uint32_t n;	    /* may run past the end: then it is full */
	char pad[44];
	struct trace_record records[CHUNK_RECORDS];
};
_Static_assert(sizeof(struct trace_chunk) == CHUNK_SIZE, "a chunk is whole pages");

/* Who last let go an object. */
struct waker {
	const void *what;
	uint64_t ns;
	const struct stack *stack;
	uint32_t tag;
};

/* Several are let go at once and their waiters come later: as many objects of one set are remembered, the
 * latest ones. What is forgotten too early is counted. */
enum { WAKER_WAYS = 4, WAKER_SETS = LOCKS_SLOTS / WAKER_WAYS };
struct wakers {
	struct spin lock;
	struct waker ways[WAKER_WAYS];
};

_Atomic uint32_t tracebuf_session;

static struct {
	bool running; /* a trace runs, or its records are being read */
	uint32_t last;
	_Atomic int64_t chunks_left;
	_Atomic uint64_t full_ns;
	_Atomic(struct trace_chunk *) chunks;
	struct trace_chunk *late; /* of an earlier trace, whose owners were busy */
	struct thread_trace agent;
} self;

/* apart from what is initialised: costs nothing until it is touched */
static struct wakers wakers[WAKER_SETS] BIG;

/* ---- appending ---- */

static struct trace_chunk *new_chunk(const struct thread *owner)
{
	struct trace_chunk *chunk = NULL;
	uint64_t none = 0;

	if (atomic_fetch_sub(&self.chunks_left, 1) > 0)
		chunk = budget_map(sizeof(*chunk));
	if (!chunk) {
		atomic_compare_exchange_strong(&self.full_ns, &none, sys_clock_ns(CLOCK_MONOTONIC));
		return NULL;
	}
	chunk->owner = owner;
	chunk->next = atomic_load(&self.chunks);
	while (!atomic_compare_exchange_weak(&self.chunks, &chunk->next, chunk))
		;
	return chunk;
}

/* A place for a record of this thread, or NULL; done() is due in either case. */
static struct trace_record *reserve(struct thread_trace *own, const struct thread *owner)
{
	struct trace_chunk *chunk;
	uint32_t session, at;

	atomic_fetch_add(&own->busy, 1);
	session = atomic_load(&tracebuf_session);
	if (!session || atomic_load_explicit(&self.full_ns, memory_order_relaxed))
		return NULL;
	chunk = atomic_load(&own->session) == session ? atomic_load(&own->chunk) : NULL;
	if (chunk) {
		at = atomic_fetch_add_explicit(&chunk->n, 1, memory_order_relaxed);
		if (at < CHUNK_RECORDS)
			return &chunk->records[at];
	}
	chunk = new_chunk(owner);
	if (!chunk)
		return NULL;
	atomic_store_explicit(&chunk->n, 1, memory_order_relaxed);
	/* in this order: a handler between the two stores must not take an old chunk for this session's */
	atomic_store(&own->chunk, chunk);
	atomic_store(&own->session, session);
	return &chunk->records[0];
}

static void done(struct thread_trace *own, struct trace_record *r, enum trace_kind kind)
{
	if (r)
		atomic_store_explicit(&r->kind, kind, memory_order_release);
	atomic_fetch_sub(&own->busy, 1);
}

static struct trace_record *reserve_for(struct thread *t)
{
	struct trace_record *r = reserve(&t->trace, t);

	if (r) {
		r->tag = atomic_load_explicit(&t->tag, memory_order_relaxed);
		r->tid = (uint32_t)atomic_load_explicit(&t->tid, memory_order_relaxed);
	}
	return r;
}

/* ---- threads ---- */

void tracebuf_creating(struct trace_birth *out, const struct stack *by)
{
	if (!tls.thread)
		threads_adopt();
	out->ns = sys_clock_ns(CLOCK_MONOTONIC);
	out->creator = tls.thread ? atomic_load_explicit(&tls.thread->tag, memory_order_relaxed) : 0;
	out->stack = by;
}

void tracebuf_thread_begin(struct thread *t)
{
	struct trace_record *r;

	if (!tracebuf_on())
		return;
	r = reserve_for(t);
	if (r) {
		r->until_ns = sys_clock_ns(CLOCK_MONOTONIC);
		r->at_ns = t->trace.birth.ns ? t->trace.birth.ns : r->until_ns;
		r->waker = t->trace.birth.creator;
		r->stack = t->trace.birth.stack;
		r->value = (uintptr_t)t->start;
	}
	done(&t->trace, r, TRACE_BEGIN);
}

static void let_go(struct thread_trace *own)
{
	if (own->held)
		locks_unhold(own->held - 1);
	own->held = 0;
}

/* The set of an object, locked; NULL: another thread is at it. */
static struct wakers *lock_wakers(const void *object)
{
	struct wakers *set = &wakers[locks_slot(object) % WAKER_SETS];

	if (spin_try(&set->lock))
		return set;
	stat_add(STAT_TRACE_WAKERS_LOST, 1);
	return NULL;
}

static void note_waker(const void *object, const struct thread *t, const struct stack *stack)
{
	struct wakers *set = lock_wakers(object);
	struct waker *w;

	if (!set)
		return;
	w = &set->ways[0];
	for (int i = 0; i < WAKER_WAYS && w->what != object; i++)
		if (set->ways[i].what == object || set->ways[i].ns < w->ns)
			w = &set->ways[i];
	if (w->what && w->what != object && locks_waited(w->what))
		stat_add(STAT_TRACE_WAKERS_FORGOTTEN, 1);
	*w = (struct waker){
		.what = object,
		.ns = sys_clock_ns(CLOCK_MONOTONIC),
		.stack = stack,
		.tag = atomic_load_explicit(&t->tag, memory_order_relaxed),
	};
	spin_unlock(&set->lock);
}

void tracebuf_thread_end(struct thread *t)
{
	const void *joined = (const void *)pthread_self();
	struct trace_record *r;

	let_go(&t->trace);
	atomic_store_explicit(&t->trace.waits_since, 0, memory_order_relaxed);
	if (!tracebuf_on())
		return;
	/* before the end: who has ended can wake nobody */
	if (locks_waited(joined))
		note_waker(joined, t, NULL);
	r = reserve_for(t);
	if (r) {
		r->at_ns = sys_clock_ns(CLOCK_MONOTONIC);
		sys_prctl(GET_NAME, (unsigned long)r->name, 0);
	}
	done(&t->trace, r, TRACE_END);
}

/* ---- waits ---- */

void tracebuf_wait_begins(struct thread *t, const struct trace_wait *wait)
{
	struct thread_trace *own = &t->trace;

	/* what an earlier wait left that ended by longjmp or cancellation */
	let_go(own);
	if (wait->object && tracebuf_on() && locks_hold(locks_slot(wait->object)))
		own->held = locks_slot(wait->object) + 1;
	/* whoever sees one of the new facts sees that the old time is gone */
	atomic_store_explicit(&own->waits_since, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&own->stack, wait->stack, memory_order_relaxed);
	atomic_store_explicit(&own->function, wait->function, memory_order_relaxed);
	atomic_store_explicit(&own->reason, wait->reason, memory_order_relaxed);
	atomic_store_explicit(&own->waits_since, wait->since_ns, memory_order_release);
}

bool tracebuf_waits(struct thread *t, struct trace_record *out)
{
	struct thread_trace *own = &t->trace;
	uint64_t since = atomic_load_explicit(&own->waits_since, memory_order_acquire);
	uintptr_t leaf;

	if (!since)
		return false;
	memset(out, 0, sizeof(*out));
	out->kind = TRACE_WAIT;
	out->tag = atomic_load(&t->tag);
	out->tid = (uint32_t)atomic_load(&t->tid);
	out->at_ns = since;
	out->until_ns = TRACE_NEVER;
	out->stack = atomic_load_explicit(&own->stack, memory_order_relaxed);
	out->reason = atomic_load_explicit(&own->reason, memory_order_relaxed);
	leaf = (uintptr_t)atomic_load_explicit(&own->function, memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&own->waits_since, memory_order_relaxed) != since)
		return false;
	/* it began before the trace: who called is not known */
	if (!out->stack && leaf)
		out->stack = stacks_intern(&leaf, 1, modules_generation());
	return true;
}

/* Who ended this wait, if that was seen. */
static void find_waker(struct trace_record *r, const void *object)
{
	struct wakers *set = lock_wakers(object);

	if (!set)
		return;
	for (const struct waker *w = set->ways; w < set->ways + WAKER_WAYS; w++)
		if (w->what == object && w->ns > r->at_ns && w->ns < r->until_ns && w->tag != r->tag) {
			r->waker = w->tag;
			r->woken_ns = w->ns;
			r->waker_stack = w->stack;
		}
	spin_unlock(&set->lock);
}

void tracebuf_wait_ends(struct thread *t, const struct trace_wait *wait, uint64_t now_ns,
			bool happened, bool woken)
{
	struct trace_record *r;

	atomic_store_explicit(&t->trace.waits_since, 0, memory_order_relaxed);
	if (happened && tracebuf_on()) {
		r = reserve_for(t);
		if (r) {
			r->at_ns = wait->since_ns;
			r->until_ns = now_ns;
			r->stack = wait->stack;
			r->reason = (uint8_t)wait->reason;
			if (wait->object && woken)
				find_waker(r, wait->object);
		}
		done(&t->trace, r, TRACE_WAIT);
	}
	let_go(&t->trace);
}

void tracebuf_wakes(const void *object, const void *function)
{
	if (!tls.thread)
		threads_adopt();
	if (tls.thread)
		note_waker(object, tls.thread, record_here_at(function));
}

void tracebuf_sample(struct thread *t, const struct stack *stack)
{
	struct trace_record *r = reserve_for(t);

	if (r) {
		r->at_ns = sys_clock_ns(CLOCK_MONOTONIC);
		r->stack = stack;
	}
	done(&t->trace, r, TRACE_SAMPLE);
}

/* ---- the agent's side ---- */

static bool is_busy(const struct trace_chunk *chunk)
{
	return chunk->owner && atomic_load(&chunk->owner->trace.busy);
}

/* Unmaps a list; what is still being written to goes to self.late. */
static void free_list(struct trace_chunk *chunk)
{
	while (chunk) {
		struct trace_chunk *next = chunk->next;

		if (is_busy(chunk)) {
			chunk->next = self.late;
			self.late = chunk;
		} else {
			budget_unmap(chunk, sizeof(*chunk));
		}
		chunk = next;
	}
}

static void free_late(void)
{
	struct trace_chunk *late = self.late;

	self.late = NULL;
	free_list(late);
}

int tracebuf_begin(size_t max_bytes)
{
	if (self.running)
		return -EBUSY;
	free_late();
	if (max_bytes < 16 * sizeof(struct trace_chunk))
		return -ENOMEM;
	self.running = true;
	atomic_store(&self.chunks, NULL);
	atomic_store(&self.full_ns, 0);
	atomic_store(&self.chunks_left, (int64_t)(max_bytes / sizeof(struct trace_chunk)));
	if (!++self.last)
		self.last = 1;
	atomic_store(&tracebuf_session, self.last);
	return 0;
}

uint64_t tracebuf_full_ns(void)
{
	return atomic_load(&self.full_ns);
}

void tracebuf_heap(uint64_t now_ns, uint64_t bytes)
{
	struct trace_record *r = reserve(&self.agent, NULL);

	if (r) {
		r->at_ns = now_ns;
		r->value = bytes;
	}
	done(&self.agent, r, TRACE_HEAP);
}

static bool any_busy(void)
{
	for (uint32_t i = 0, n = records_count(); i < n; i++)
		if (atomic_load(&records_at(i)->trace.busy))
			return true;
	return false;
}

void tracebuf_stop(void)
{
	atomic_store(&tracebuf_session, 0);
	for (int ms = 0; ms < STOP_MS && any_busy(); ms++)
		sys_sleep_ns(1000000);
}

bool tracebuf_each(bool (*each)(void *arg, const struct trace_record *record), void *arg)
{
	for (struct trace_chunk *c = atomic_load(&self.chunks); c; c = c->next) {
		uint32_t n = atomic_load(&c->n);

		for (uint32_t i = 0; i < n && i < CHUNK_RECORDS; i++)
			if (atomic_load_explicit(&c->records[i].kind, memory_order_acquire) &&
			    !each(arg, &c->records[i]))
				return false;
	}
	return true;
}

void tracebuf_free(void)
{
	struct trace_chunk *chunks = atomic_exchange(&self.chunks, NULL);

	atomic_store(&tracebuf_session, 0);
	free_late();
	free_list(chunks);
	self.running = false;
}

void tracebuf_child(void)
{
	for (uint32_t i = 0, n = records_count(); i < n; i++)
		memset(&records_at(i)->trace, 0, sizeof(records_at(i)->trace));
	for (size_t i = 0; i < WAKER_SETS && self.last; i++)
		spin_reset(&wakers[i].lock);
	memset(&self.agent, 0, sizeof(self.agent));
	tracebuf_free();
}
