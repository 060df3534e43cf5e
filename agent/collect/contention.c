/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing here takes place while the guard is up around a real call: a wait may be left by longjmp,
 * cancellation or exec, and the thread must then still be profiled (hazard B3). What such a wait left
 * in the table of locks is found in the thread's record at its next wait or at its end.
 */
#include "agent/collect/contention.h"

#include "agent/base/random.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/base/tls.h"
#include "agent/collect/buckets.h"
#include "agent/collect/record.h"
#include "agent/collect/threads.h"
#include "agent/collect/tracebuf.h"

enum { COUNT, DELAY };
enum { TRACED_NS = 10000 }; /* shorter ones were none, in all likelihood */

static struct {
	bool on; /* one of the two is */
	bool labels;
	uint64_t block_rate;
	uint64_t mutex_fraction;
} self;

void contention_start(uint64_t block_rate, uint64_t mutex_fraction, bool labels)
{
	self.block_rate = block_rate;
	self.mutex_fraction = mutex_fraction;
	self.labels = labels;
	__atomic_store_n(&self.on, block_rate || mutex_fraction, __ATOMIC_RELEASE);
}

uint64_t contention_block_rate(void)
{
	return self.block_rate;
}

uint64_t contention_mutex_fraction(void)
{
	return self.mutex_fraction;
}

/* The caller's bucket, or that of all stacks for which there is no room; NULL without even that. */
static struct bucket *bucket_of(enum series series, const struct stack *stack)
{
	uint32_t tag = 0;
	struct bucket *b;

	if (self.labels && tls.thread)
		tag = atomic_load_explicit(&tls.thread->tag, memory_order_relaxed);
	b = buckets_get(series, stack, 0, tag);
	return b ? b : buckets_get(series, record_mark(FRAME_OTHER), 0, 0);
}

static struct bucket *bucket_here(enum series series, const void *leaf)
{
	return bucket_of(series, record_here_at(leaf));
}

static void add_block(const struct contention_wait *wait, uint64_t ns, const void *function)
{
	uint64_t rate = self.block_rate, count = (uint64_t)1 << CONTENTION_COUNT_BITS;
	struct bucket *b;

	if (!ns)
		ns = 1;
	if (ns <= wait->kept_from_ns)
		return;
	if (ns < rate) {
		count = (rate << CONTENTION_COUNT_BITS) / ns;
		ns = rate;
	}
	b = wait->trace.stack ? bucket_of(SERIES_BLOCK, wait->trace.stack) : bucket_here(SERIES_BLOCK, function);
	if (!b)
		return;
	stat_add(STAT_BLOCK_EVENTS, 1);
	bucket_add(b, COUNT, (int64_t)count);
	bucket_add(b, DELAY, (int64_t)ns);
}

static int64_t times_fraction(int64_t n)
{
	int64_t product;

	/* only a fraction of 10^9 and waits of hours come here */
	if (__builtin_mul_overflow(n, (int64_t)self.mutex_fraction, &product))
		product = INT64_MAX / 2;
	return product;
}

static void add_mutex(struct bucket *b, const struct lock_share *share)
{
	if (!share->ns && !share->waits)
		return;
	if (!b)
		b = buckets_get(SERIES_MUTEX, record_mark(FRAME_UNSEEN), 0, 0);
	if (!b)
		return;
	bucket_add(b, COUNT, times_fraction((int64_t)(share->waits << CONTENTION_COUNT_BITS)));
	bucket_add(b, DELAY, times_fraction(share->ns));
}

/* A wait of this thread that never came back, if there is one. */
static void forget_left(struct thread *t)
{
	struct lock_share share;

	if (!t->lock_wait.entry)
		return;
	stat_add(STAT_LOCKS_LEFT, 1);
	locks_leave(&t->lock_wait, 0, LOCK_END_FORGET, &share);
}

static bool blame(const void *lock, uint64_t now)
{
	struct thread *t;

	if (self.mutex_fraction > 1 && random_below(self.mutex_fraction))
		return false;
	if (!tls.thread)
		threads_adopt();
	t = tls.thread;
	if (!t)
		return false;
	forget_left(t);
	if (!locks_join(&t->lock_wait, lock, now))
		return false;
	stat_add(STAT_LOCK_WAITS, 1);
	return true;
}

/* While no trace runs, a trace that may begin meanwhile is told only that the thread waits. */
static void trace_before(struct trace_wait *wait)
{
	if (tracebuf_on() && !tls.thread)
		threads_adopt();
	if (tls.thread)
		tracebuf_wait_begins(tls.thread, wait);
}

bool contention_before(struct contention_wait *wait, const void *lock, const void *object,
		       const void *function)
{
	bool recorded;

	if ((!__atomic_load_n(&self.on, __ATOMIC_ACQUIRE) && !tracebuf_on()) || !guard_enter())
		return false;
	wait->trace = (struct trace_wait){
		.since_ns = sys_clock_ns(CLOCK_MONOTONIC),
		.object = object,
		.function = function,
		.reason = TRACE_SYNC,
	};
	wait->blames = lock && self.mutex_fraction && blame(lock, wait->trace.since_ns);
	recorded = wait->blames || self.block_rate || tracebuf_on();
	if (self.block_rate)
		wait->kept_from_ns = random_below(self.block_rate);
	if (tracebuf_on() || (lock && self.block_rate))
		wait->trace.stack = record_here_at(function);
	if (recorded)
		trace_before(&wait->trace);
	guard_leave();
	return recorded;
}

bool contention_trace_before(struct contention_wait *wait, enum trace_reason reason, const void *function)
{
	if (!guard_enter())
		return false;
	wait->trace = (struct trace_wait){
		.since_ns = sys_clock_ns(CLOCK_MONOTONIC),
		.function = function,
		.reason = reason,
	};
	wait->blames = false;
	if (!tls.thread)
		threads_adopt();
	/* most of these calls return at once: the stack is taken when one did not */
	if (tls.thread)
		tracebuf_wait_begins(tls.thread, &wait->trace);
	guard_leave();
	return true;
}

/* A wait for somebody else, or for the machine? Whoever closed the descriptor meanwhile makes us err. */
static enum trace_reason reason_of(int fd)
{
	struct stat st;

	if (sys_fstat(fd, &st) < 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode))
		return TRACE_CALL;
	return TRACE_NET;
}

void contention_trace_after(struct contention_wait *wait, int fd)
{
	uint64_t now = sys_clock_ns(CLOCK_MONOTONIC);
	bool waited = now - wait->trace.since_ns >= TRACED_NS;

	if (!guard_enter())
		return;
	if (waited && tracebuf_on()) {
		wait->trace.stack = record_here_at(wait->trace.function);
		if (wait->trace.reason == TRACE_IO)
			wait->trace.reason = reason_of(fd);
	}
	if (tls.thread)
		tracebuf_wait_ends(tls.thread, &wait->trace, now, waited, false);
	guard_leave();
}

void contention_wakes(const void *object, const void *function)
{
	if (!guard_enter())
		return;
	tracebuf_wakes(object, function);
	guard_leave();
}

static void stop_blaming(uint64_t now, enum contention_end end)
{
	static const enum lock_end ends[] = {
		[WAIT_GOT] = LOCK_END_GOT,
		[WAIT_GAVE_UP] = LOCK_END_GAVE_UP,
		[WAIT_NONE] = LOCK_END_FORGET,
	};
	struct thread *t = tls.thread;
	struct lock_share share;

	/* a signal handler that waited for a lock meanwhile has ended this one's share */
	if (!t || !t->lock_wait.entry)
		return;
	locks_leave(&t->lock_wait, now, ends[end], &share);
	add_mutex(share.unlocker, &share);
}

void contention_after(struct contention_wait *wait, const void *function, enum contention_end end)
{
	uint64_t now = sys_clock_ns(CLOCK_MONOTONIC);

	if (!guard_enter())
		return;
	if (wait->blames)
		stop_blaming(now, end);
	if (tracebuf_on() && end != WAIT_NONE && !wait->trace.stack)
		wait->trace.stack = record_here_at(function);
	if (tls.thread)
		tracebuf_wait_ends(tls.thread, &wait->trace, now, end != WAIT_NONE, end == WAIT_GOT);
	if (self.block_rate && end != WAIT_NONE)
		add_block(wait, now - wait->trace.since_ns, function);
	guard_leave();
}

void contention_unlock_begins(struct contention_unlock *unlock, const void *lock,
			      const void *function)
{
	unlock->charged = false;
	if (!guard_enter())
		return;
	unlock->lock = lock;
	unlock->function = function;
	unlock->charged = locks_unlock_begins(&unlock->at, lock);
	if (tracebuf_on())
		tracebuf_wakes(lock, function);
	guard_leave();
}

NOINLINE void contention_unlock_ends(const struct contention_unlock *unlock)
{
	struct lock_share share;
	struct bucket *b;

	if (!unlock->charged || !guard_enter())
		return;
	b = bucket_here(SERIES_MUTEX, unlock->function);
	locks_unlock_ends(&unlock->at, unlock->lock, b, &share);
	add_mutex(b, &share);
	stat_add(STAT_LOCK_CLOSES, 1);
	guard_leave();
}

NOINLINE void contention_unlock(const void *lock, const void *function)
{
	struct contention_unlock unlock;

	contention_unlock_begins(&unlock, lock, function);
	contention_unlock_ends(&unlock);
}

void contention_created(const struct stack *by)
{
	struct bucket *b;

	if (!guard_enter())
		return;
	b = bucket_of(SERIES_THREADCREATE, by);
	if (b)
		bucket_add(b, COUNT, 1);
	guard_leave();
}

void contention_thread_end(struct thread *thread)
{
	forget_left(thread);
}

void contention_child(void)
{
	locks_child();
	if (tls.thread)
		tls.thread->lock_wait.entry = NULL;
	buckets_child(SERIES_BLOCK);
	buckets_child(SERIES_MUTEX);
	buckets_child(SERIES_THREADCREATE);
}
