/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may touch a thread's timer: whoever moved `account` from 0 to this session made the timer, and
 * whoever moves it back to 0 (the thread at its end, or the agent at the session's end: one exchange)
 * settles it. The handler only adds to `account` while the session in its upper half is the running
 * one, so that each period is booked once, by the handler or by the settlement.
 */
#include "agent/collect/cpu.h"

#include <errno.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/random.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/buckets.h"
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
	_Atomic uint32_t active;   /* number of the running session, 0: none */
	uint32_t last;		   /* number of the newest session */
	unsigned users;		   /* profiles that share it */
	_Atomic int labelled;	   /* profiles that want tags */
	unsigned shooters;	   /* others that use the signal */
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
	uint32_t tag = atomic_load_explicit(&self.labelled, memory_order_relaxed) ? labels_tag(t) : 0;
	struct bucket *b = buckets_get(SERIES_CPU, stack, 0, tag);

	if (!b)
		b = buckets_get(SERIES_CPU, record_mark(FRAME_OTHER), 0, 0);
	if (b)
		bucket_add(b, 0, periods);
}

/* How many of n delivered periods nobody has booked yet. */
static inline uint32_t not_booked(struct thread *t, uint32_t n)
{
	uint32_t ahead = atomic_load_explicit(&t->timer.ahead, memory_order_relaxed), taken;

	do {
		taken = ahead < n ? ahead : n;
	} while (UNLIKELY(taken && !atomic_compare_exchange_weak(&t->timer.ahead, &ahead, ahead - taken)));
	return n - taken;
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
	uint32_t active, n = 1 + (overrun > 0 ? (uint32_t)overrun : 0);
	const struct stack *stack;
	uint64_t account;

	if (index & SIGNALS_SHOT) {
		shot_on_signal(index & ~(uint32_t)SIGNALS_SHOT, context);
		return;
	}
	t = records_at(index);
	/* a raw clone that shares its parent's TLS would write into its parent's state (hazard C8) */
	if (!t || (tls.thread && tls.thread != t))
		return;
	atomic_fetch_add(&self.handlers, 1);
	active = atomic_load(&self.active);
	account = atomic_load(&t->timer.account);
	if (active && account >> 32 == active)
		n = not_booked(t, n);
	do {
		if (!active || !n || account >> 32 != active) {
			atomic_fetch_sub(&self.handlers, 1);
			return;
		}
	} while (!atomic_compare_exchange_weak(&t->timer.account, &account, account + n));
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

/* Expirations due at this CPU time. */
static uint64_t periods_due(const struct thread *t, uint64_t cpu_ns, uint64_t period_ns)
{
	return cpu_ns < t->timer.first_ns ? 0 : (cpu_ns - t->timer.first_ns) / period_ns + 1;
}

/* The stack for periods of a thread that no tick ever hit. */
static const struct stack *late_stack(const struct thread *t)
{
	uintptr_t pcs[2] = { FRAME_LATE, (uintptr_t)t->start };

	return stacks_intern(pcs, t->start ? 2 : 1, modules_generation());
}

/* Whoever takes the id out deletes the timer. */
static bool delete_timer(struct thread *t)
{
	int id = atomic_exchange(&t->timer.id, 0);

	if (id)
		sys_timer_delete(id - 1);
	return id != 0;
}

/* Takes the timer away and books what was due and not delivered. */
static void settle(struct thread *t, uint32_t session, uint64_t cpu_ns)
{
	uint64_t account = atomic_load(&t->timer.account);
	const struct stack *stack;
	uint64_t due;

	do {
		if (account >> 32 != session || !session)
			return;
	} while (!atomic_compare_exchange_weak(&t->timer.account, &account, 0));
	if (!delete_timer(t)) /* it was about to be made, and is deleted by who makes it */
		return;
	due = periods_due(t, cpu_ns, atomic_load(&self.period_ns));
	if (due <= (uint32_t)account)
		return;
	due -= (uint32_t)account;
	stack = atomic_load_explicit(&t->timer.last, memory_order_acquire);
	book(t, stack ? stack : late_stack(t), (uint32_t)due);
	stat_add(STAT_CPU_OWED, due);
}

/* The same between two windows of a session that goes on: what is due belongs to the one that ends, and is taken
 * off what will be delivered. */
static void catch_up(void)
{
	uint32_t session = atomic_load(&self.active);

	for (uint32_t i = 0, n = records_count(); i < n; i++) {
		struct thread *t = records_at(i);
		uint64_t account = atomic_load(&t->timer.account), due;
		const struct stack *stack;

		if (account >> 32 != session || !atomic_load(&t->timer.id))
			continue;
		due = periods_due(t, sys_clock_ns(sys_thread_cpu_clock(atomic_load(&t->tid))), atomic_load(&self.period_ns));
		/* changed meanwhile: a sample came, and nothing is owed any more */
		if (due <= (uint32_t)account ||
		    !atomic_compare_exchange_strong(&t->timer.account, &account, account - (uint32_t)account + due))
			continue;
		due -= (uint32_t)account;
		atomic_fetch_add(&t->timer.ahead, (uint32_t)due);
		stack = atomic_load_explicit(&t->timer.last, memory_order_acquire);
		book(t, stack ? stack : late_stack(t), (uint32_t)due);
		stat_add(STAT_CPU_OWED, due);
	}
}

/*
 * false when the kernel refuses. The account is already this session's. A thread that arms itself sets
 * an absolute time; the agent a relative one: what another thread used since its clock was read could
 * make an absolute time past, and then it is delivered at once, into whatever that thread sleeps in.
 * Deliveries follow first_ns by that little; what they lack in the end is settled.
 */
static bool make_timer(struct thread *t, int tid, uint64_t cpu_ns, bool by_itself)
{
	uint64_t period = atomic_load(&self.period_ns);
	uint64_t first = 1 + random_below(period);
	struct itimerspec when = {
		.it_interval = { (time_t)(period / 1000000000u), (long)(period % 1000000000u) },
		.it_value = { (time_t)(first / 1000000000u), (long)(first % 1000000000u) },
	};
	struct sigevent event;
	int id;

	memset(&event, 0, sizeof(event));
	event.sigev_notify = SIGEV_THREAD_ID;
	event.sigev_signo = atomic_load(&self.sig);
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

static void arm_claimed(struct thread *t, uint32_t session, bool born)
{
	int tid = atomic_load(&t->tid);
	uint64_t cpu_ns;

	atomic_store_explicit(&t->timer.last, NULL, memory_order_relaxed);
	atomic_store_explicit(&t->timer.ahead, 0, memory_order_relaxed);
	cpu_ns = born ? 0 : sys_clock_ns(sys_thread_cpu_clock(tid));
	if (make_timer(t, tid, cpu_ns, born)) {
		atomic_store(&t->refused, false);
		/* the session, or the thread, may have been settled before there was a timer to take away */
		if (atomic_load(&t->timer.account) >> 32 != session)
			delete_timer(t);
		return;
	}
	atomic_store(&t->timer.account, 0);
	if (!atomic_exchange(&t->refused, true)) {
		t->unseen_from_ns = cpu_ns;
		stat_add(STAT_CPU_TIMER_FAIL, 1);
	}
}

/* born: the thread is new and its whole CPU time counts, else what it uses from now on. */
static void arm(struct thread *t, uint32_t session, bool born)
{
	/* one at a time; who comes second is content with the first one's */
	if (atomic_exchange(&t->timer.arming, true))
		return;
	if (claim(t, session))
		arm_claimed(t, session, born);
	atomic_store(&t->timer.arming, false);
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
		t->unseen_from_ns = sys_clock_ns(sys_thread_cpu_clock(atomic_load(&t->tid)));
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
		now = sys_clock_ns(sys_thread_cpu_clock(atomic_load(&t->tid)));
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

	/* one that blocks the signal is looked at again by cpu_tend; around a fork it is we who block it */
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
			settle(t, session,
			       sys_clock_ns(sys_thread_cpu_clock(atomic_load(&t->tid))));
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
