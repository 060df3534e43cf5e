/* SPDX-License-Identifier: Apache-2.0 */
/* The blocks that carry a thread's beginning from its creator to itself are used again and again. */
#include "agent/collect/launch.h"

#include <stdatomic.h>
#include <stdint.h>

#include "agent/base/arena.h"
#include "agent/base/attr.h"
#include "agent/base/spin.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/base/tls.h"
#include "agent/collect/census.h"
#include "agent/collect/threads.h"
#include "agent/collect/tracebuf.h"

enum {
	/* below the end of a stack that glibc mapped: its guard page, and room for the odd bytes
	 * above pthread_self() that our bounds do not count */
	STACK_MARGIN = 3 * 4096,
};

struct thread_launch {
	void *(*routine)(void *);
	void *arg;
	size_t stack_size;
	const struct stack *by;
	int creator;
	struct trace_birth birth;
	struct thread_launch *next;
};

static struct {
	struct spin lock;
	struct thread_launch *launches; /* blocks to use again */
	struct arena arena;
} self;

struct thread_launch *launch_new(void *(*routine)(void *), void *arg, size_t stack_size,
				     const struct stack *by)
{
	struct thread_launch *l;

	spin_lock(&self.lock);
	l = self.launches;
	if (l)
		self.launches = l->next;
	spin_unlock(&self.lock);
	if (!l)
		l = arena_alloc(&self.arena, sizeof(*l));
	if (!l) {
		stat_add(STAT_THREADS_FULL, 1);
		census_uncounted();
		return NULL;
	}
	l->routine = routine;
	l->arg = arg;
	l->stack_size = stack_size;
	l->by = by;
	l->creator = sys_gettid();
	l->birth.ns = 0;
	if (tracebuf_on())
		tracebuf_creating(&l->birth, by);
	/* counted before it runs: main may end before the thread's first instruction */
	census_add();
	return l;
}

static void give_back(struct thread_launch *l)
{
	spin_lock(&self.lock);
	l->next = self.launches;
	self.launches = l;
	spin_unlock(&self.lock);
}

void launch_abandon(struct thread_launch *launch)
{
	bool guarded = guard_enter();

	census_take_back();
	give_back(launch);
	if (guarded)
		guard_leave();
}

static NOINLINE void enter_thread(const struct thread_launch *l)
{
	struct thread *t;

	guard_raise();
	t = threads_own_record();
	if (t) {
		uintptr_t top = (uintptr_t)pthread_self();

		t->counted = true;
		t->start = l->routine;
		atomic_store_explicit(&t->creator, l->creator, memory_order_relaxed);
		atomic_store_explicit(&t->created_by, l->by, memory_order_release);
		if (l->birth.ns)
			t->trace.birth = l->birth;
		if (l->stack_size > 2 * STACK_MARGIN) {
			t->stack_hi = top;
			t->stack_lo = top - l->stack_size + STACK_MARGIN;
		}
		threads_begin(t);
	} else {
		/* its end will not be seen: the agent looks for it */
		census_lost();
	}
	guard_leave();
}

/* Out of line, so that nothing of it lies on the stack of the tail jump. */
static NOINLINE void enter_launched(struct thread_launch *l)
{
	const struct thread_launch own = *l;

	give_back(l);
	enter_thread(&own);
}

void *launch_run(void *launch)
{
	struct thread_launch *l = launch;
	void *(*routine)(void *) = l->routine;
	void *arg = l->arg;

	guard_raise();
	enter_launched(l);
	return routine(arg); /* a tail jump: see hooks/thread.c */
}

void launch_child(void)
{
	spin_reset(&self.lock);
}
