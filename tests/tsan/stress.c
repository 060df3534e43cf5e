/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress [SECONDS]: the modules behind the hooks, driven by many threads at once while an agent reads all of them,
 * with everything compiled for the thread sanitizer: blocks, locks, threads, stacks, traces, unloads, the log. What
 * the hooks do around the real calls is done here by hand. No signals: under that sanitizer they come late.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/base/budget.h"
#include "agent/base/log.h"
#include "agent/base/mem.h"
#include "agent/base/random.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/base/tls.h"
#include "agent/collect/buckets.h"
#include "agent/collect/census.h"
#include "agent/collect/contention.h"
#include "agent/collect/heap.h"
#include "agent/collect/heapview.h"
#include "agent/collect/launch.h"
#include "agent/collect/modules.h"
#include "agent/collect/record.h"
#include "agent/collect/snapshot.h"
#include "agent/collect/stacks.h"
#include "agent/collect/sweep.h"
#include "agent/collect/threads.h"
#include "agent/collect/tracebuf.h"
#include "agent/collect/unloads.h"

enum { WORKERS = 6, RING = 64, SHARED = 256 };

static _Atomic bool stop;
static _Atomic unsigned long blocks, waits, threads, rounds;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(void *) shared[SHARED]; /* blocks that another thread frees */

/* The sanitizer must see memory come and go, or it takes what lies at one address, one after the other, for one. */
long __real_sys_enter(long nr, long a, long b, long c, long d, long e, long f);
long __wrap_sys_enter(long nr, long a, long b, long c, long d, long e, long f);
long __wrap_sys_enter(long nr, long a, long b, long c, long d, long e, long f)
{
	if (nr == SYS_mmap) {
		void *at = mmap((void *)a, (size_t)b, (int)c, (int)d, (int)e, f);

		return at == MAP_FAILED ? -errno : (long)at;
	}
	if (nr == SYS_munmap)
		return munmap((void *)a, (size_t)b) ? -errno : 0;
	return __real_sys_enter(nr, a, b, c, d, e, f);
}

static void *take_block(size_t size)
{
	int draw = heap_due(size) ? heap_draw(size) : HEAP_SKIP;
	void *ptr = malloc(size);

	if (draw != HEAP_SKIP)
		heap_on_alloc(ptr, size, draw);
	atomic_fetch_add_explicit(&blocks, 1, memory_order_relaxed);
	return ptr;
}

static void give_block(void *ptr)
{
	struct live sample;

	if (ptr && livemap_maybe(ptr) && heap_take(ptr, &sample))
		heap_freed(&sample);
	free(ptr);
}

static void lock_and_unlock(void)
{
	struct contention_unlock unlock;
	struct contention_wait wait;

	if (pthread_mutex_trylock(&mutex) != 0) {
		bool noted = contention_before(&wait, &mutex, &mutex, (void *)lock_and_unlock);

		pthread_mutex_lock(&mutex);
		if (noted)
			contention_after(&wait, (void *)lock_and_unlock, WAIT_GOT);
		atomic_fetch_add_explicit(&waits, 1, memory_order_relaxed);
	}
	sys_sleep_ns(1000);
	if (!locks_waited(&mutex)) {
		pthread_mutex_unlock(&mutex);
		return;
	}
	contention_unlock_begins(&unlock, &mutex, (void *)lock_and_unlock);
	pthread_mutex_unlock(&mutex);
	contention_unlock_ends(&unlock);
}

static void *short_life(void *arg)
{
	give_block(take_block(100));
	lock_and_unlock();
	return arg;
}

static void launch_thread(void)
{
	struct thread_launch *made = NULL;
	const struct stack *by;
	pthread_t thread;

	if (guard_enter()) {
		by = record_here_at((void *)launch_thread);
		made = launch_new(short_life, NULL, 0, by);
		guard_leave();
		if (made)
			contention_created(by);
	}
	if (pthread_create(&thread, NULL, made ? launch_run : short_life, made) == 0)
		pthread_join(thread, NULL);
	else if (made)
		launch_abandon(made);
	atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed);
}

static void intern_some(uint64_t random)
{
	uintptr_t pcs[8];
	struct bucket *b;

	for (size_t i = 0; i < 8; i++)
		pcs[i] = 0x10000 + ((random >> (4 * i)) & 7) * 4096;
	if (guard_enter()) {
		unloads_enter();
		b = buckets_get(SERIES_CPU, stacks_intern(pcs, 1 + (uint32_t)(random & 7), modules_generation()), 0, 0);
		/* long runs meet so many stacks that the budget is spent */
		if (!b)
			b = buckets_get(SERIES_CPU, record_mark(FRAME_OTHER), 0, 0);
		if (b)
			bucket_add(b, 0, 1);
		unloads_leave();
		guard_leave();
	}
}

static void *work(void *arg)
{
	void *ring[RING] = { NULL };
	uint64_t random = (uintptr_t)arg;

	for (size_t i = 0; !atomic_load_explicit(&stop, memory_order_relaxed); i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		give_block(ring[i % RING]);
		ring[i % RING] = take_block(1 + (random >> 40) % 4000);
		give_block(atomic_exchange(&shared[(random >> 30) % SHARED], take_block(64)));
		intern_some(random >> 20);
		if (i % 16 == 0)
			lock_and_unlock();
		if (i % 256 == 0)
			launch_thread();
		if (i % 1024 == 0)
			log_line(LOG_INFO, "round %zu", i);
	}
	for (size_t i = 0; i < RING; i++)
		give_block(ring[i]);
	return NULL;
}

static bool count_record(void *arg, const struct trace_record *record)
{
	++*(unsigned long *)arg;
	return true;
}

static void read_all(uint32_t next)
{
	struct heap_state state;
	struct heap_values values;
	unsigned long records = 0;

	for (int series = 0; series < SERIES_N; series++)
		snapshot_drop(snapshot_take((enum series)series, NULL));
	for (const struct bucket *b = buckets_first(SERIES_HEAP); b; b = bucket_next(b))
		heap_read(b, &values);
	snapshot_drop(heapview_take(HEAP_OLD, 1000));
	heap_state(&state);
	sweep_threads();
	unloads_note(0x12000, 0x14000, next);
	if (next % 8 == 0)
		tracebuf_begin(1 << 20);
	if (next % 8 == 4 && tracebuf_on()) {
		tracebuf_stop();
		tracebuf_each(count_record, &records);
		tracebuf_free();
	}
	atomic_fetch_add(&rounds, 1);
}

static void *agent(void *seconds)
{
	uint64_t end = sys_clock_ns(CLOCK_MONOTONIC) + (uint64_t)(uintptr_t)seconds * 1000000000u;

	census_agent_begins();
	for (uint32_t next = 1; sys_clock_ns(CLOCK_MONOTONIC) < end; next++) {
		read_all(next);
		sys_sleep_ns(2000000);
	}
	atomic_store(&stop, true);
	return NULL;
}

int main(int argc, char **argv)
{
	uintptr_t seconds = argc > 1 ? (uintptr_t)atol(argv[1]) : 20;
	pthread_t workers[WORKERS], reader;

	budget_set(64 << 20);
	threads_start();
	heap_start(512, true);
	contention_start(1, 1, true);
	threads_notify(tracebuf_thread_begin, contention_thread_end, NULL);
	pthread_create(&reader, NULL, agent, (void *)seconds);
	for (uintptr_t i = 0; i < WORKERS; i++)
		pthread_create(&workers[i], NULL, work, (void *)(i + 1));
	for (int i = 0; i < WORKERS; i++)
		pthread_join(workers[i], NULL);
	pthread_join(reader, NULL);
	for (int i = 0; i < SHARED; i++)
		give_block(atomic_load(&shared[i]));
	printf("stress: %lu blocks, %lu waits, %lu threads, %lu readings\n", atomic_load(&blocks), atomic_load(&waits),
	       atomic_load(&threads), atomic_load(&rounds));
	return atomic_load(&waits) && atomic_load(&threads) ? 0 : 2;
}
