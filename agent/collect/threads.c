/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: records lie in chunks that are never moved or freed, so that an index or a pointer to one
 * is always good to look at. A thread that ends puts its record at the end of a queue; a new thread
 * takes one from its head, if the thread that had it is really gone from the kernel (a signal
 * handler may run until then), else a fresh one. So nobody sweeps, and 10^6 short threads need few
 * records.
 */
#include "agent/collect/threads.h"

#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "agent/base/arena.h"
#include "agent/base/attr.h"
#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "agent/base/spin.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/altstack.h"

enum {
	CHUNK = 256,  /* records */
	CHUNKS = 256, /* 65,536 records; more threads at once go without, counted */
	/* POSIX promises this many destructor rounds; we act in the last, after the program's own */
	LAST_ROUND = PTHREAD_DESTRUCTOR_ITERATIONS,
	/* below the end of a stack that glibc mapped: its guard page, and room for the odd bytes
	 * above pthread_self() that our bounds do not count */
	STACK_MARGIN = 3 * 4096,
	MAIN_STACK_MAX = 64 << 20,
	REUSE_TRIES = 4, /* records looked at before a fresh one is made */
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
	_Atomic(struct thread *) chunks[CHUNKS];
	_Atomic uint32_t records;
	_Atomic uint32_t tags;
	struct spin lock;		 /* of what follows, up to the blank line */
	struct thread *queue_first;	 /* ended records, oldest first */
	struct thread *queue_last;
	struct thread_launch *launches;	 /* blocks to use again */
	struct thread *found;		 /* records that the agent made and no thread has taken over */
	struct arena arena;

	pthread_key_t key;
	bool has_key;
	bool started; /* the agent listens: threads get an altstack */
	_Atomic int64_t live;	  /* application threads that have not ended; main counts from the start */
	_Atomic uint64_t created; /* through pthread_create and thrd_create */
	_Atomic int agents;	  /* our own threads */
	_Atomic int found_n;	  /* length of `found` */
	_Atomic bool watch;	  /* all counted threads ended, uncounted ones are left */
	_Atomic bool uncounted;	  /* there were threads that no memory was left to count */
	void (*begin)(struct thread *);
	void (*end)(struct thread *);
	void (*last)(void);
} self = { .live = 1 };

/* The first chunk: most programs need no other. */
static struct thread chunk0[CHUNK] __attribute__((aligned(64))) BIG;

uint64_t threads_live(void)
{
	int64_t n = atomic_load_explicit(&self.live, memory_order_relaxed);

	return n > 0 ? (uint64_t)n : 0;
}

uint64_t threads_created(void)
{
	return atomic_load_explicit(&self.created, memory_order_relaxed);
}

uint32_t threads_records(void)
{
	return atomic_load_explicit(&self.records, memory_order_acquire);
}

struct thread *threads_at(uint32_t i)
{
	struct thread *chunk;

	if (i >= threads_records())
		return NULL;
	chunk = atomic_load_explicit(&self.chunks[i / CHUNK], memory_order_acquire);
	return chunk + i % CHUNK;
}

void threads_notify(void (*begin)(struct thread *), void (*end)(struct thread *), void (*last)(void))
{
	self.begin = begin;
	self.end = end;
	self.last = last;
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

static bool is_gone(const struct thread *t)
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
		if (is_gone(t))
			return t;
		append_record(t);
	}
	return NULL;
}

static struct thread *take_record(int tid)
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

static void retire_record(struct thread *t)
{
	atomic_store_explicit(&t->state, THREAD_ENDED, memory_order_release);
	queue_record(t);
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

/* The record that the agent made for this thread before it ran a hook, if any. */
static struct thread *find_tid(int tid)
{
	for (uint32_t i = 0, n = threads_records(); i < n; i++) {
		struct thread *t = threads_at(i);

		if (atomic_load(&t->tid) == tid && atomic_load(&t->state) == THREAD_LIVE)
			return t;
	}
	return NULL;
}

/* Takes the record that the agent made for this tid (only this one, when given) out of the list of those;
 * NULL: there is none. */
static struct thread *take_found(int tid, const struct thread *only)
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

/* One of two records of a thread goes. */
static void drop_double(struct thread *t)
{
	atomic_store(&t->state, THREAD_ENDED);
	atomic_store(&t->tid, 0);
	queue_record(t);
}

void threads_adopt(void)
{
	int tid = sys_gettid();
	struct thread *t;

	if (tls.thread || (tls.flags & (TLS_EXITING | TLS_AGENT)))
		return;
	t = take_found(tid, NULL);
	if (!t)
		t = take_record(tid);
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

struct thread_launch *threads_launch(void *(*routine)(void *), void *arg, size_t stack_size,
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
		atomic_store(&self.uncounted, true);
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
	atomic_fetch_add(&self.live, 1);
	atomic_fetch_add_explicit(&self.created, 1, memory_order_relaxed);
	stat_add(STAT_THREADS_SEEN, 1);
	return l;
}

static void give_back(struct thread_launch *l)
{
	spin_lock(&self.lock);
	l->next = self.launches;
	self.launches = l;
	spin_unlock(&self.lock);
}

void threads_abandon(struct thread_launch *launch)
{
	bool guarded = guard_enter();

	atomic_fetch_sub(&self.live, 1);
	atomic_fetch_sub_explicit(&self.created, 1, memory_order_relaxed);
	give_back(launch);
	if (guarded)
		guard_leave();
}

/*
 * The record of a thread that begins. The agent may find the thread before it gets here, or at the same
 * time, and make one too; a thread with two records would be listed and charged twice. Each side makes
 * its record known before it looks for the other's, so at least one sees both; whoever takes the agent's
 * out of the list decides what becomes of it.
 */
static struct thread *own_record(void)
{
	int tid = sys_gettid();
	struct thread *t = take_record(tid), *other;

	atomic_thread_fence(memory_order_seq_cst);
	other = take_found(tid, NULL);
	if (other) {
		if (self.end)
			self.end(other);
		drop_double(other);
	}
	return t;
}

static NOINLINE void enter_thread(const struct thread_launch *l)
{
	struct thread *t;

	guard_raise();
	t = own_record();
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
		bind_self(t);
		if (self.begin)
			self.begin(t);
	} else {
		/* its end will not be seen: the agent looks for it */
		atomic_fetch_sub(&self.live, 1);
		atomic_store(&self.uncounted, true);
		atomic_store(&self.watch, true);
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

void *threads_run(void *launch)
{
	struct thread_launch *l = launch;
	void *(*routine)(void *) = l->routine;
	void *arg = l->arg;

	guard_raise();
	enter_launched(l);
	return routine(arg); /* a tail jump: see hooks/thread.c */
}

/* Does the kernel still have threads of the program besides the caller? unknown: the answer when /proc cannot
 * be read. */
static bool others_live(bool unknown)
{
	_Alignas(8) char buf[2048];
	long fd = sys_open("/proc/thread-self/../", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int count = 0;
	long n;

	if (fd < 0)
		return unknown;
	while ((n = sys_getdents((int)fd, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < n;) {
			unsigned short len = *(unsigned short *)(buf + at + 16);

			if (buf[at + 19] >= '1' && buf[at + 19] <= '9')
				count++;
			at += len;
		}
	}
	sys_close((int)fd);
	if (n < 0)
		return unknown;
	/* our own threads, the caller if it is none of them, and main as a zombie if it ended first */
	return count > atomic_load(&self.agents) + !(tls.flags & TLS_AGENT) +
			       (sys_gettid() != sys_getpid());
}

/* Threads that have ended for us take a moment to leave the kernel. Threads that libc made for itself
 * (timers, aio) were never counted: then the agent watches (threads_only_agents). */
static bool alone_soon(void)
{
	for (int ms = 0; ms < 200; ms++) {
		/* without /proc our own count, which has just reached 0, is believed if it can be right */
		if (!others_live(atomic_load(&self.uncounted)))
			return true;
		sys_sleep_ns(1000000);
	}
	atomic_store(&self.watch, true);
	return false;
}

bool threads_only_agents(void)
{
	return atomic_load(&self.watch) && !others_live(true);
}

bool threads_cannot_tell(void)
{
	return atomic_load(&self.watch) && !others_live(false) && others_live(true);
}

bool threads_watch(void)
{
	return atomic_load(&self.watch);
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
	retire_record(t);
	if (guarded)
		guard_leave();
	/* one that libc made for itself, or that there was no memory to count, does not count now either */
	if (counted && atomic_fetch_sub(&self.live, 1) == 1 && atomic_load(&self.agents) && self.last &&
	    alone_soon())
		self.last();
}

void threads_is_agent(void)
{
	guard_forever();
	tls.tid = (uint32_t)sys_gettid();
	atomic_fetch_add(&self.agents, 1);
}

void threads_agent_ends(void)
{
	atomic_fetch_sub(&self.agents, 1);
}

/* Open addressing: tids of records, negative once /proc has listed them too. Built for one sweep, so that
 * it costs O(threads), not its square. */
struct tid_set {
	int *slots;
	size_t mask;
};

static int *tid_slot(const struct tid_set *set, int tid)
{
	size_t at = ((uint32_t)tid * 2654435761u) & set->mask;

	for (; set->slots[at]; at = (at + 1) & set->mask)
		if (set->slots[at] == tid || set->slots[at] == -tid)
			break;
	return &set->slots[at];
}

static bool recorded_tids(struct tid_set *set, uint32_t known)
{
	size_t slots = 64;

	while (slots < (size_t)known * 2 + 2)
		slots *= 2;
	set->mask = slots - 1;
	set->slots = mem_zalloc(slots * sizeof(*set->slots));
	if (!set->slots)
		return false;
	for (uint32_t i = 0; i < known; i++) {
		const struct thread *t = threads_at(i);
		int tid = atomic_load(&t->tid);

		if (atomic_load(&t->state) == THREAD_LIVE)
			*tid_slot(set, tid) = tid;
	}
	return true;
}

/* Threads with a destructor end by themselves; the others are ended here. */
static void end_unlisted(const struct tid_set *set, uint32_t known)
{
	for (uint32_t i = 0; i < known; i++) {
		struct thread *t = threads_at(i);
		int tid = atomic_load(&t->tid);

		if (atomic_load(&t->state) != THREAD_LIVE || *tid_slot(set, tid) < 0 || !is_gone(t))
			continue;
		take_found(tid, t);
		retire_record(t);
	}
}

static bool has_other(const struct thread *own)
{
	int tid = atomic_load(&own->tid);

	for (uint32_t i = 0, n = threads_records(); i < n; i++) {
		const struct thread *t = threads_at(i);

		if (t != own && atomic_load(&t->tid) == tid && atomic_load(&t->state) == THREAD_LIVE)
			return true;
	}
	return false;
}

/* A thread that /proc lists and that has no record. See own_record. */
static void make_found(int tid)
{
	struct thread *t = take_record(tid);

	if (!t)
		return;
	spin_lock(&self.lock);
	t->found = self.found;
	self.found = t;
	atomic_fetch_add(&self.found_n, 1);
	spin_unlock(&self.lock);
	if (has_other(t) && take_found(tid, t))
		drop_double(t);
}

int threads_sweep(void)
{
	_Alignas(8) char buf[4096];
	long fd = sys_open("/proc/thread-self/../", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint32_t known = threads_records();
	int own = sys_gettid();
	struct tid_set set;
	long n;

	if (fd < 0)
		return (int)fd;
	if (!recorded_tids(&set, known)) {
		sys_close((int)fd);
		return -ENOMEM;
	}
	while ((n = sys_getdents((int)fd, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < n;) {
			unsigned short len = *(unsigned short *)(buf + at + 16);
			int tid = 0, *slot;

			for (const char *c = buf + at + 19; *c >= '0' && *c <= '9'; c++)
				tid = tid * 10 + (*c - '0');
			at += len;
			if (!tid || tid == own)
				continue;
			slot = tid_slot(&set, tid);
			if (*slot)
				*slot = -tid;
			/* it may have registered itself since the set was made */
			else if (!find_tid(tid))
				make_found(tid);
		}
	}
	sys_close((int)fd);
	if (n == 0)
		end_unlisted(&set, known);
	mem_free(set.slots);
	return n < 0 ? (int)n : 0;
}

int threads_start(void)
{
	/* one key; without it threads are still profiled, only their end is noticed later */
	self.has_key = pthread_key_create(&self.key, on_thread_end) == 0;
	threads_adopt();
	if (tls.thread)
		tls.thread->counted = true;
	else
		atomic_store(&self.uncounted, true);
	return 0;
}

void threads_child(void)
{
	struct thread *own = tls.thread;

	spin_reset(&self.lock);
	self.found = NULL;
	atomic_store(&self.found_n, 0);
	for (uint32_t i = 0, n = threads_records(); i < n; i++) {
		struct thread *t = threads_at(i);

		memset(&t->timer, 0, sizeof(t->timer));
		if (t == own)
			continue;
		if (atomic_load(&t->state) == THREAD_LIVE)
			retire_record(t);
	}
	atomic_store(&self.agents, 0);
	atomic_store(&self.live, 1);
	atomic_store(&self.watch, false);
	atomic_store(&self.uncounted, !own);
	if (own)
		own->counted = true;
	atomic_store(&self.created, 0);
	if (own) {
		tls.tid = (uint32_t)sys_gettid();
		atomic_store(&own->tid, (int)tls.tid);
	}
}
