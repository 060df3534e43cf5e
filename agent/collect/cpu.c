/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions, their signal, and whose stack is booked. What is due to each thread is the business of
 * its timer (collect/cpu_timer.h): each period is booked once, by the handler or by a settlement.
 */
#include "agent/collect/cpu.h"

#include <errno.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/buckets.h"
#include "agent/collect/cpu_timer.h"
#include "agent/collect/frames.h"
#include "agent/collect/labels.h"
#include "agent/collect/modules.h"
#include "agent/collect/record.h"
#include "agent/collect/records.h"
#include "agent/collect/shot.h"
#include "agent/collect/signals.h"
#include "agent/collect/stacks.h"
#include "agent/collect/sweep.h"
#include "agent/collect/task.h"

static struct {
	_Atomic uint32_t active; /* number of the running session, 0: none */
	uint32_t last;		 /* number of the newest session */
	unsigned users;		 /* profiles that share it */
	_Atomic int labelled;	 /* profiles that want tags */
	unsigned shooters;	 /* others that use the signal */
	unsigned hz;
	_Atomic uint64_t period_ns;
	_Atomic int sig;
	_Atomic int handlers;	   /* handlers at work now */
	uint32_t blocked, refused; /* threads without a timer, at the last look */
	bool returning;		   /* the signal is still to be given back */
} self;

uint64_t cpu_period_ns(void)
{
	return atomic_load(&self.active) ? atomic_load(&self.period_ns) : 0;
}

uint32_t cpu_threads_blocked(void)
{
	return self.blocked;
}

uint32_t cpu_threads_refused(void)
{
	return self.refused;
}

void cpu_label(bool on)
{
	atomic_fetch_add(&self.labelled, on ? 1 : -1);
}

static void book(struct thread *t, const struct stack *stack, uint32_t periods)
{
	uint32_t tag =
		atomic_load_explicit(&self.labelled, memory_order_relaxed) ? labels_tag(t) : 0;
	struct bucket *b = buckets_get(SERIES_CPU, stack, 0, tag);

	if (!b)
		b = buckets_get(SERIES_CPU, record_mark(FRAME_OTHER), 0, 0);
	if (b)
		bucket_add(b, 0, periods);
}

static inline bool enter(const ucontext_t *context)
{
	uintptr_t reg[ARCH_REGS];

	arch_from_context(context, reg);
	return guard_enter_in_signal(reg[ARCH_SP], &context->uc_stack);
}

static void on_sample(uint32_t index, int overrun, void *context)
{
	struct thread *t;
	uint32_t n = 1 + (overrun > 0 ? (uint32_t)overrun : 0);
	const struct stack *stack;

	if (index & SIGNALS_SHOT) {
		shot_on_signal(index & ~(uint32_t)SIGNALS_SHOT, context);
		return;
	}
	t = records_at(index);
	/* a raw clone that shares its parent's TLS would write into its parent's state (hazard C8)
	 */
	if (!t || (tls.thread && tls.thread != t))
		return;
	atomic_fetch_add(&self.handlers, 1);
	n = cpu_timer_delivered(t, atomic_load(&self.active), n);
	if (!n) {
		atomic_fetch_sub(&self.handlers, 1);
		return;
	}
	stat_add(STAT_CPU_SAMPLES, 1);
	if (enter(context)) {
		stack = record_context(context, t);
		guard_leave();
	} else {
		stat_add(STAT_CPU_BUSY, n);
		stack = record_mark(FRAME_AGENT);
	}
	book(t, stack, n);
	if (tracebuf_on())
		tracebuf_sample(t, stack);
	atomic_store_explicit(&t->timer.last, stack, memory_order_release);
	atomic_fetch_sub(&self.handlers, 1);
}

/* The stack for periods of a thread that no tick ever hit. */
static const struct stack *late_stack(const struct thread *t)
{
	uintptr_t pcs[2] = {FRAME_LATE, (uintptr_t)t->start};

	return stacks_intern(pcs, t->start ? 2 : 1, modules_generation());
}

/* Periods that were due and not delivered. */
static void book_owed(struct thread *t, uint32_t periods)
{
	const struct stack *stack = atomic_load_explicit(&t->timer.last, memory_order_acquire);

	if (!periods)
		return;
	book(t, stack ? stack : late_stack(t), periods);
	stat_add(STAT_CPU_OWED, periods);
}

static void settle(struct thread *t, uint32_t session, uint64_t cpu_ns)
{
	book_owed(t, cpu_timer_settle(t, session, cpu_ns, atomic_load(&self.period_ns)));
}

static uint64_t cpu_ns_of(const struct thread *t)
{
	return sys_clock_ns(sys_thread_cpu_clock(atomic_load(&t->tid)));
}

/* Between two windows of a session that goes on: what is due belongs to the one that ends. */
static void catch_up(void)
{
	uint32_t session = atomic_load(&self.active);

	for (uint32_t i = 0, n = records_count(); i < n; i++) {
		struct thread *t = records_at(i);

		if (cpu_timer_runs(t, session))
			book_owed(t, cpu_timer_catch_up(t, session, cpu_ns_of(t),
							atomic_load(&self.period_ns)));
	}
}

/* born: the thread is new and its whole CPU time counts, else what it uses from now on. */
static void arm(struct thread *t, uint32_t session, bool born)
{
	struct cpu_rhythm rhythm = {
		.session = session,
		.sig = atomic_load(&self.sig),
		.period_ns = atomic_load(&self.period_ns),
	};

	if (!cpu_timer_arm(t, &rhythm, born))
		stat_add(STAT_CPU_TIMER_FAIL, 1);
}

static uint64_t own_mask(void)
{
	uint64_t mask = 0;

	sys_sigprocmask(SIG_BLOCK, NULL, &mask);
	return mask;
}

void cpu_thread_begin(struct thread *t)
{
	uint32_t session = atomic_load(&self.active);

	if (!session)
		return;
	/* a thread that blocks the signal is looked at again by cpu_tend */
	if (own_mask() >> (atomic_load(&self.sig) - 1) & 1)
		return;
	arm(t, session, true);
	/* the session may have ended, and its end may have missed us, in between */
	if (atomic_load(&self.active) != session)
		settle(t, session, 0);
}

void cpu_thread_end(struct thread *t)
{
	uint32_t session = (uint32_t)(atomic_load(&t->timer.account) >> 32);

	if (session)
		settle(t, session, sys_clock_ns(CLOCK_THREAD_CPUTIME_ID));
	labels_thread_end(t);
}

static bool any_pending(int sig)
{
	int directory = task_directory();
	struct task_status status;
	bool found = false;

	if (directory < 0)
		return false;
	for (uint32_t i = 0, n = records_count(); i < n && !found; i++) {
		struct thread *t = records_at(i);

		found = atomic_load(&t->state) == THREAD_LIVE &&
			task_status(directory, atomic_load(&t->tid), &status) == 0 &&
			(status.pending >> (sig - 1) & 1);
	}
	sys_close(directory);
	return found;
}

/* One look at a thread without a timer. */
static void look_at(struct thread *t, int directory, uint32_t session, int sig)
{
	bool was_unseen = atomic_load(&t->blocked) || atomic_load(&t->refused);
	struct task_status status;
	bool now_blocked = task_status(directory, atomic_load(&t->tid), &status) == 0 &&
			   (status.blocked >> (sig - 1) & 1);

	atomic_store(&t->blocked, now_blocked);
	if (!now_blocked)
		arm(t, session, false);
	if (atomic_load(&t->timer.account))
		return;
	self.blocked += now_blocked;
	self.refused += !now_blocked;
	if (!was_unseen)
		t->unseen_from_ns = cpu_ns_of(t);
}

/* Gives every thread a timer that can have one and has none. */
static void arm_all(void)
{
	uint32_t session = atomic_load(&self.active);
	int sig = atomic_load(&self.sig), directory = task_directory();

	self.blocked = self.refused = 0;
	sweep_threads();
	for (uint32_t i = 0, n = records_count(); i < n; i++) {
		struct thread *t = records_at(i);

		if (atomic_load(&t->state) == THREAD_LIVE && !atomic_load(&t->timer.account))
			look_at(t, directory, session, sig);
	}
	if (directory >= 0)
		sys_close(directory);
}

uint64_t cpu_unseen_ns(bool refused, uint32_t *out_threads)
{
	uint64_t sum = 0;

	*out_threads = 0;
	for (uint32_t i = 0, n = records_count(); i < n; i++) {
		struct thread *t = records_at(i);
		uint64_t now;

		if (atomic_load(&t->state) != THREAD_LIVE || atomic_load(&t->timer.account) ||
		    !atomic_load(refused ? &t->refused : &t->blocked))
			continue;
		now = cpu_ns_of(t);
		if (now < t->unseen_from_ns + atomic_load(&self.period_ns))
			continue;
		sum += now - t->unseen_from_ns;
		++*out_threads;
	}
	return sum;
}

/* 1: a new session has begun; 0: joined the running one; -errno. */
static int begin_session(unsigned hz)
{
	int sig;

	if (self.users) {
		if (hz != self.hz)
			return -EBUSY;
		self.users++;
		catch_up();
		return 0;
	}
	sig = signals_take();
	if (sig < 0) {
		stat_add(STAT_CPU_NO_SIGNAL, 1);
		return -EADDRINUSE;
	}
	self.users = 1;
	self.hz = hz;
	self.returning = false;
	atomic_store(&self.sig, sig);
	atomic_store(&self.period_ns, 1000000000u / hz);
	/* threads that start from here on arm themselves */
	atomic_store(&self.active, ++self.last);
	return 1;
}

int cpu_acquire(unsigned hz)
{
	int err = begin_session(hz);

	if (err == 1)
		arm_all();
	return err < 0 ? err : 0;
}

int cpu_acquire_alone(unsigned hz)
{
	int err = begin_session(hz);

	/* one that blocks the signal is looked at again by cpu_tend; around a fork it is we who
	 * block it */
	if (err == 1 && tls.thread &&
	    (tls.flags & TLS_FORKING || !(own_mask() >> (atomic_load(&self.sig) - 1) & 1)))
		arm(tls.thread, atomic_load(&self.active), false);
	return err < 0 ? err : 0;
}

void cpu_release(void)
{
	uint32_t session = atomic_load(&self.active);

	if (--self.users) {
		catch_up();
		return;
	}
	/* no thread arms itself from here on, no handler books: what is due now is settled below */
	atomic_store(&self.active, 0);
	for (uint32_t i = 0, n = records_count(); i < n; i++) {
		struct thread *t = records_at(i);

		atomic_store(&t->blocked, false);
		atomic_store(&t->refused, false);
		/* the clock is 0 when the thread is gone: then nothing more is due */
		if (atomic_load(&t->timer.account) >> 32 == session)
			settle(t, session, cpu_ns_of(t));
	}
	/* handlers that took a sample before it was settled are about to book it */
	for (int ms = 0; ms < 20 && atomic_load(&self.handlers); ms++)
		sys_sleep_ns(1000000);
	self.returning = true;
}

int cpu_signal_enter(void)
{
	int sig = signals_take();

	if (sig < 0) {
		stat_add(STAT_CPU_NO_SIGNAL, 1);
		return -EADDRINUSE;
	}
	self.shooters++;
	return sig;
}

void cpu_signal_leave(void)
{
	if (--self.shooters == 0 && !self.users)
		self.returning = true;
}

bool cpu_needs_tending(void)
{
	return self.users || self.returning;
}

bool cpu_tend(void)
{
	if (self.users) {
		arm_all();
		return true;
	}
	if (self.returning && !self.shooters && signals_release(any_pending))
		self.returning = false;
	return self.returning;
}

void cpu_start(void)
{
	signals_on_sample(on_sample);
}

void cpu_child(void)
{
	atomic_store(&self.active, 0);
	atomic_store(&self.handlers, 0);
	self.users = self.shooters = 0;
	atomic_store(&self.labelled, 0);
	self.returning = false;
	signals_child();
	buckets_child(SERIES_CPU);
}
