/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may touch a thread's timer: whoever moved `account` from 0 to this session made the timer,
 * and whoever moves it back to 0 (the thread at its end, or the agent at the session's end: one
 * exchange) settles it. In between its lower half only rises: to what the clock says
 * (cpu_timer_catch_up), or to what was delivered, if that is more.
 */
#include "agent/collect/cpu_timer.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "agent/base/random.h"
#include "agent/base/sys.h"
#include "agent/collect/signals.h"
#include "agent/collect/threads.h"

static uint64_t periods_due(const struct thread *t, uint64_t cpu_ns, uint64_t period_ns)
{
	return cpu_ns < t->timer.first_ns ? 0 : (cpu_ns - t->timer.first_ns) / period_ns + 1;
}

uint32_t cpu_timer_delivered(struct thread *t, uint32_t session, uint32_t n)
{
	uint64_t account = atomic_load(&t->timer.account);
	uint32_t delivered;

	if (!session || account >> 32 != session)
		return 0;
	delivered = atomic_fetch_add(&t->timer.delivered, n) + n;
	do {
		if (account >> 32 != session || delivered <= (uint32_t)account)
			return 0;
		n = delivered - (uint32_t)account;
	} while (!atomic_compare_exchange_weak(&t->timer.account, &account, account + n));
	return n;
}

bool cpu_timer_runs(const struct thread *t, uint32_t session)
{
	return session && atomic_load(&t->timer.account) >> 32 == session &&
	       atomic_load(&t->timer.id);
}

uint32_t cpu_timer_catch_up(struct thread *t, uint32_t session, uint64_t cpu_ns, uint64_t period_ns)
{
	uint64_t due = periods_due(t, cpu_ns, period_ns), account = atomic_load(&t->timer.account);

	do {
		if (account >> 32 != session || due <= (uint32_t)account)
			return 0;
	} while (!atomic_compare_exchange_weak(&t->timer.account, &account,
					       (uint64_t)session << 32 | due));
	return (uint32_t)due - (uint32_t)account;
}

/* Whoever takes the id out deletes the timer. */
static bool delete_timer(struct thread *t)
{
	int id = atomic_exchange(&t->timer.id, 0);

	if (id)
		sys_timer_delete(id - 1);
	return id != 0;
}

uint32_t cpu_timer_settle(struct thread *t, uint32_t session, uint64_t cpu_ns, uint64_t period_ns)
{
	uint64_t account = atomic_load(&t->timer.account), due;

	do {
		if (account >> 32 != session || !session)
			return 0;
	} while (!atomic_compare_exchange_weak(&t->timer.account, &account, 0));
	if (!delete_timer(t)) /* it was about to be made, and is deleted by who makes it */
		return 0;
	due = periods_due(t, cpu_ns, period_ns);
	return due > (uint32_t)account ? (uint32_t)(due - (uint32_t)account) : 0;
}

/*
 * false when the kernel refuses. The account is already this session's. A thread that arms itself
 * sets an absolute time; the agent a relative one: what another thread used since its clock was
 * read could make an absolute time past, and then it is delivered at once, into whatever that
 * thread sleeps in. Deliveries follow first_ns by that little; what they lack in the end is
 * settled.
 */
static bool make_timer(struct thread *t, const struct cpu_rhythm *rhythm, uint64_t cpu_ns,
		       bool by_itself)
{
	uint64_t period = rhythm->period_ns;
	uint64_t first = 1 + random_below(period);
	struct itimerspec when = {
		.it_interval = {(time_t)(period / 1000000000u), (long)(period % 1000000000u)},
		.it_value = {(time_t)(first / 1000000000u), (long)(first % 1000000000u)},
	};
	int tid = atomic_load(&t->tid), id;
	struct sigevent event;

	memset(&event, 0, sizeof(event));
	event.sigev_notify = SIGEV_THREAD_ID;
	event.sigev_signo = rhythm->sig;
	event.sigev_value.sival_ptr = (void *)(uintptr_t)signals_cookie(t->index);
	event._sigev_un._tid = tid;
	t->timer.first_ns = cpu_ns + first;
	if (sys_timer_create(sys_thread_cpu_clock(tid), &event, &id) != 0)
		return false;
	if (sys_timer_settime(id, by_itself ? TIMER_ABSTIME : 0, &when) != 0) {
		sys_timer_delete(id);
		return false;
	}
	atomic_store(&t->timer.id, id + 1);
	return true;
}

static bool claim(struct thread *t, uint32_t session)
{
	uint64_t none = 0;

	return atomic_compare_exchange_strong(&t->timer.account, &none, (uint64_t)session << 32);
}

static bool arm_claimed(struct thread *t, const struct cpu_rhythm *rhythm, bool born)
{
	uint64_t cpu_ns = born ? 0 : sys_clock_ns(sys_thread_cpu_clock(atomic_load(&t->tid)));

	atomic_store_explicit(&t->timer.last, NULL, memory_order_relaxed);
	atomic_store(&t->timer.delivered, 0);
	if (make_timer(t, rhythm, cpu_ns, born)) {
		atomic_store(&t->refused, false);
		/* the session, or the thread, may have been settled before there was a timer to
		 * take away */
		if (atomic_load(&t->timer.account) >> 32 != rhythm->session)
			delete_timer(t);
		return true;
	}
	atomic_store(&t->timer.account, 0);
	if (atomic_exchange(&t->refused, true))
		return true;
	t->unseen_from_ns = cpu_ns;
	return false;
}

bool cpu_timer_arm(struct thread *t, const struct cpu_rhythm *rhythm, bool born)
{
	bool told = true;

	/* one at a time; who comes second is content with the first one's */
	if (atomic_exchange(&t->timer.arming, true))
		return true;
	if (claim(t, rhythm->session))
		told = arm_claimed(t, rhythm, born);
	atomic_store(&t->timer.arming, false);
	return told;
}
