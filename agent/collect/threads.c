/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread and its record, from its beginning to its end. The end is seen by a destructor of thread data.
 */
#include "agent/collect/threads.h"

#include <limits.h>
#include <stddef.h>

#include "agent/base/sys.h"
#include "agent/collect/altstack.h"
#include "agent/collect/census.h"
#include "agent/collect/launch.h"
#include "agent/collect/records.h"

/* Tools that end a thread's state of theirs in the last round must come after us: make check-tsan. */
#ifndef DESTRUCTOR_ROUNDS
#define DESTRUCTOR_ROUNDS PTHREAD_DESTRUCTOR_ITERATIONS
#endif

enum {
	/* POSIX promises this many destructor rounds; we act in the last, after the program's own */
	LAST_ROUND = DESTRUCTOR_ROUNDS,
	MAIN_STACK_MAX = 64 << 20,
};

static struct {
	pthread_key_t key;
	bool has_key;
	bool started; /* the agent listens: threads get an altstack */
	void (*begin)(struct thread *);
	void (*end)(struct thread *);
	void (*last)(bool alone);
} self;

void threads_notify(void (*begin)(struct thread *), void (*end)(struct thread *),
		    void (*last)(bool alone))
{
	self.begin = begin;
	self.end = end;
	self.last = last;
}

/* Binds a record to the calling thread. */
static void bind_self(struct thread *t)
{
	tls.tid = (uint32_t)atomic_load_explicit(&t->tid, memory_order_relaxed);
	tls.stack_lo = t->stack_lo;
	tls.stack_hi = t->stack_hi;
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* our handler reads bounds only behind `thread` */
	tls.thread = t;
	/* without the key its end is noticed later, and nobody would take its altstack away */
	if (self.has_key && pthread_setspecific(self.key, t) == 0 && self.started)
		t->altstack = altstack_enter();
}

void threads_adopt(void)
{
	int tid = sys_gettid();
	struct thread *t;

	if (tls.thread || (tls.flags & (TLS_EXITING | TLS_AGENT)))
		return;
	t = records_take_found(tid, NULL);
	if (!t)
		t = records_take(tid);
	if (t)
		bind_self(t);
}

void threads_main_stack(uintptr_t top)
{
	if (!tls.thread)
		return;
	tls.thread->stack_hi = top;
	tls.thread->stack_lo = top - MAIN_STACK_MAX;
	tls.stack_lo = tls.thread->stack_lo;
	tls.stack_hi = top;
}

void threads_give_altstacks(void)
{
	self.started = true;
	if (self.has_key && tls.thread && !tls.thread->altstack)
		tls.thread->altstack = altstack_enter();
}

/*
 * The record of a thread that begins. The agent may find the thread before it gets here, or at the same
 * time, and make one too; a thread with two records would be listed and charged twice. Each side makes
 * its record known before it looks for the other's, so at least one sees both; whoever takes the agent's
 * out of the list decides what becomes of it.
 */
struct thread *threads_own_record(void)
{
	int tid = sys_gettid();
	struct thread *t = records_take(tid), *other;

	atomic_thread_fence(memory_order_seq_cst);
	other = records_take_found(tid, NULL);
	if (other) {
		if (self.end)
			self.end(other);
		records_drop_double(other);
	}
	return t;
}

void threads_begin(struct thread *t)
{
	bind_self(t);
	if (self.begin)
		self.begin(t);
}

/*
 * Our TSD destructor. It sets its key again until the last round, so that the program's own
 * destructors still run in a profiled thread; then the thread loses its record. The last application
 * thread must end the process itself, because our own thread keeps it alive for libc (hazard G2).
 */
static void on_thread_end(void *arg)
{
	struct thread *t = arg;
	bool guarded, counted;

	if (tls.thread != t)
		return;
	if (++t->rounds < LAST_ROUND) {
		pthread_setspecific(self.key, t);
		return;
	}
	guarded = guard_enter();
	counted = t->counted;
	if (self.end)
		self.end(t);
	altstack_leave(t->altstack);
	tls.flags |= TLS_EXITING;
	tls.thread = NULL;
	records_retire(t);
	if (guarded)
		guard_leave();
	/* one that libc made for itself, or that there was no memory to count, does not count now either */
	if (counted && census_ended_last() && self.last)
		self.last(census_alone_soon());
}

int threads_start(void)
{
	/* one key; without it threads are still profiled, only their end is noticed later */
	self.has_key = pthread_key_create(&self.key, on_thread_end) == 0;
	threads_adopt();
	if (tls.thread)
		tls.thread->counted = true;
	else
		census_uncounted();
	return 0;
}

void threads_child(void)
{
	struct thread *own = tls.thread;

	records_child(own);
	launch_child();
	census_child(own != NULL);
	if (!own)
		return;
	own->counted = true;
	tls.tid = (uint32_t)sys_gettid();
	atomic_store(&own->tid, (int)tls.tid);
}
