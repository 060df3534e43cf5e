/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/collect/shot.h"

#include <string.h>

#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/record.h"
#include "agent/collect/records.h"
#include "agent/collect/signals.h"

static bool make(struct shot *shot, int tid, int sig)
{
	struct sigevent event;

	memset(&event, 0, sizeof(event));
	event.sigev_notify = SIGEV_THREAD_ID;
	event.sigev_signo = sig;
	event.sigev_value.sival_ptr =
		(void *)(uintptr_t)signals_cookie(shot->thread->index | SIGNALS_SHOT);
	event._sigev_un._tid = tid;
	return sys_timer_create(sys_thread_cpu_clock(tid), &event, &shot->id) == 0;
}

bool shot_arm(struct shot *shot, struct thread *thread, int tid, int sig)
{
	/* Relative: an absolute time that has passed already would be delivered at once, whatever the
	 * thread does by then. */
	const struct itimerspec soon = { .it_value = { 0, 1 } };
	uint32_t tag = atomic_load_explicit(&thread->tag, memory_order_relaxed);

	if (shot->made && (shot->thread != thread || shot->tag != tag))
		shot_drop(shot);
	shot->thread = thread;
	shot->tag = tag;
	if (!shot->made)
		shot->made = make(shot, tid, sig);
	shot->before = atomic_load_explicit(&thread->shots, memory_order_relaxed);
	shot->armed = shot->made && sys_timer_settime(shot->id, 0, &soon) == 0;
	stat_add(shot->armed ? STAT_SHOTS : STAT_SHOT_FAIL, 1);
	return shot->armed;
}

const struct stack *shot_answer(struct shot *shot)
{
	const struct thread *t = shot->thread;

	if (!shot->armed ||
	    atomic_load_explicit(&t->shots, memory_order_acquire) == shot->before ||
	    atomic_load_explicit(&t->tag, memory_order_relaxed) != shot->tag)
		return NULL;
	shot->armed = false;
	return atomic_load_explicit(&t->shot, memory_order_relaxed);
}

void shot_drop(struct shot *shot)
{
	if (shot->made)
		sys_timer_delete(shot->id);
	memset(shot, 0, sizeof(*shot));
}

/* The guard is neither asked nor raised: everything that a walk uses is lock-free, and in a raw clone
 * the guard is another thread's (hazard C8). */
void shot_on_signal(uint32_t index, const void *ucontext)
{
	struct thread *t = records_at(index);

	if (!t)
		return;
	atomic_store_explicit(&t->shot, record_context(ucontext, t), memory_order_relaxed);
	/* release: the stack is seen before the count */
	atomic_fetch_add_explicit(&t->shots, 1, memory_order_release);
}
