/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: a thread that ends puts its record at the end of a queue; a new thread takes one from its head, if
 * the thread that had it is really gone from the kernel (a signal handler may run until then), else a fresh
 * one. So nobody sweeps, and 10^6 short threads need few records.
 */
#include "agent/collect/records.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/budget.h"
#include "agent/base/spin.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/threads.h"

enum {
	CHUNK = 256,	 /* records */
	CHUNKS = 256,	 /* 65,536 records; more threads at once go without, counted */
	REUSE_TRIES = 4, /* records looked at before a fresh one is made */
};

static struct {
	_Atomic(struct thread *) chunks[CHUNKS];
	_Atomic uint32_t records;
	_Atomic uint32_t tags;
	_Atomic int found_n;		 /* length of `found` */
	struct spin lock;		 /* of what follows */
	struct thread *queue_first;	 /* ended records, oldest first */
	struct thread *queue_last;
	struct thread *found;		 /* records that the agent made and no thread has taken over */
} self;

/* The first chunk: most programs need no other. */
static struct thread chunk0[CHUNK] __attribute__((aligned(64))) BIG;

uint32_t records_count(void)
{
	return atomic_load_explicit(&self.records, memory_order_acquire);
}

struct thread *records_at(uint32_t i)
{
	struct thread *chunk;

	if (i >= records_count())
		return NULL;
	chunk = atomic_load_explicit(&self.chunks[i / CHUNK], memory_order_acquire);
	return chunk + i % CHUNK;
}

/* self.lock is held */
static struct thread *fresh_record(void)
{
	uint32_t i = atomic_load_explicit(&self.records, memory_order_relaxed);
	struct thread *chunk;

	if (i >= CHUNK * CHUNKS)
		return NULL;
	chunk = atomic_load_explicit(&self.chunks[i / CHUNK], memory_order_relaxed);
	if (!chunk) {
		chunk = i ? budget_map(ALIGN_UP(CHUNK * sizeof(*chunk), (size_t)4096)) : chunk0;
		if (!chunk)
			return NULL;
		atomic_store_explicit(&self.chunks[i / CHUNK], chunk, memory_order_release);
	}
	chunk += i % CHUNK;
	chunk->index = i;
	atomic_store_explicit(&self.records, i + 1, memory_order_release);
	return chunk;
}

bool records_is_gone(const struct thread *t)
{
	int tid = atomic_load(&t->tid);

	return !tid || SYS3(SYS_tgkill, sys_getpid(), tid, 0) == -ESRCH;
}

/* The agent may have made a timer for the thread that had the record when it had ended for us and not yet
 * for the kernel. The account goes first: an agent that is about to note an id looks at it afterwards. */
static void forget_timer(struct cpu_timer *timer)
{
	int id;

	atomic_store(&timer->account, 0);
	id = atomic_exchange(&timer->id, 0);
	if (id)
		sys_timer_delete(id - 1);
	timer->first_ns = 0;
	atomic_store(&timer->last, NULL);
}

/* To the end of the queue. self.lock is held. */
static void append_record(struct thread *t)
{
	t->queue = NULL;
	if (self.queue_last)
		self.queue_last->queue = t;
	else
		self.queue_first = t;
	self.queue_last = t;
}

/* The oldest ended record whose thread has left the kernel. One that lingers goes to the end of the queue:
 * a main thread that has ended stays a zombie as long as the process lives, and must not keep all others
 * from being used again. self.lock is held. */
static struct thread *reuse_record(void)
{
	for (int i = 0; i < REUSE_TRIES; i++) {
		struct thread *t = self.queue_first;

		if (!t)
			return NULL;
		self.queue_first = t->queue;
		if (!self.queue_first)
			self.queue_last = NULL;
		if (records_is_gone(t))
			return t;
		append_record(t);
	}
	return NULL;
}

struct thread *records_take(int tid)
{
	struct thread *t;

	spin_lock(&self.lock);
	t = reuse_record();
	if (!t)
		t = fresh_record();
	spin_unlock(&self.lock);
	if (!t) {
		stat_add(STAT_THREADS_FULL, 1);
		return NULL;
	}
	t->queue = NULL;
	t->rounds = 0;
	t->counted = false;
	t->stack_lo = t->stack_hi = 0;
	t->start = NULL;
	t->altstack = NULL;
	forget_timer(&t->timer);
	atomic_store_explicit(&t->created_by, NULL, memory_order_relaxed);
	atomic_store_explicit(&t->creator, 0, memory_order_relaxed);
	memset(&t->trace, 0, sizeof(t->trace));
	atomic_store_explicit(&t->blocked, false, memory_order_relaxed);
	atomic_store_explicit(&t->refused, false, memory_order_relaxed);
	atomic_store_explicit(&t->labelled, false, memory_order_relaxed);
	atomic_store_explicit(&t->tid, tid, memory_order_relaxed);
	atomic_store_explicit(&t->tag,
			      atomic_fetch_add_explicit(&self.tags, 1, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	atomic_store_explicit(&t->state, THREAD_LIVE, memory_order_release);
	return t;
}

/* It is used again when its thread has left the kernel. */
static void queue_record(struct thread *t)
{
	spin_lock(&self.lock);
	append_record(t);
	spin_unlock(&self.lock);
}

void records_retire(struct thread *t)
{
	atomic_store_explicit(&t->state, THREAD_ENDED, memory_order_release);
	queue_record(t);
}

bool records_has_live(int tid, const struct thread *but)
{
	for (uint32_t i = 0, n = records_count(); i < n; i++) {
		const struct thread *t = records_at(i);

		if (t != but && atomic_load(&t->tid) == tid && atomic_load(&t->state) == THREAD_LIVE)
			return true;
	}
	return false;
}

void records_found(struct thread *t)
{
	spin_lock(&self.lock);
	t->found = self.found;
	self.found = t;
	atomic_fetch_add(&self.found_n, 1);
	spin_unlock(&self.lock);
}

struct thread *records_take_found(int tid, const struct thread *only)
{
	struct thread **at, *t;

	if (!atomic_load(&self.found_n))
		return NULL;
	spin_lock(&self.lock);
	for (at = &self.found; (t = *at) != NULL; at = &t->found)
		if (atomic_load(&t->tid) == tid && (!only || t == only))
			break;
	if (t) {
		*at = t->found;
		atomic_fetch_sub(&self.found_n, 1);
	}
	spin_unlock(&self.lock);
	return t;
}

void records_drop_double(struct thread *t)
{
	atomic_store(&t->state, THREAD_ENDED);
	atomic_store(&t->tid, 0);
	queue_record(t);
}

void records_child(const struct thread *own)
{
	spin_reset(&self.lock);
	self.found = NULL;
	atomic_store(&self.found_n, 0);
	for (uint32_t i = 0, n = records_count(); i < n; i++) {
		struct thread *t = records_at(i);

		memset(&t->timer, 0, sizeof(t->timer));
		if (t != own && atomic_load(&t->state) == THREAD_LIVE)
			records_retire(t);
	}
}
