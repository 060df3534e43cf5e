/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waits of known length, through one function: the truth that block and mutex profiles are compared with.
 *
 *   waits FUNCTION WAITERS US ROUNDS [RATE]
 *
 * In each round WAITERS threads call FUNCTION and main keeps them waiting for US microseconds. Each
 * measures its own call. Prints "waited NS CALLS" and three sums over
 * calls of d ns: of d^2, and for d < RATE of d*(RATE - d) and of RATE/d - 1. Waits for a line on stdin, ends. The threads
 * are led by futex calls that bypass libc, so that nothing but FUNCTION is there to be seen.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "waits_ways.h"

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static const struct way *way;
static _Atomic int round_now, at_work, done;
static _Atomic uint64_t waited, calls;
static double squares, spread_time, spread_count, rate; /* under `sums` */
static _Atomic int sums;

static NOINLINE void waiter_calls(int i)
{
	way->wait(i);
	__asm__ volatile("");
}

static void add_sums(double d)
{
	while (atomic_exchange(&sums, 1))
		;
	squares += d * d;
	if (d < rate) {
		spread_time += d * (rate - d);
		spread_count += rate / d - 1;
	}
	atomic_store(&sums, 0);
}

/* Time that this thread was ready to run and had no processor, ns; 0 where the kernel does not say. */
static uint64_t ready_ns(void)
{
	unsigned long ran = 0, ready = 0;
	FILE *f = fopen("/proc/thread-self/schedstat", "r");

	if (f) {
		if (fscanf(f, "%lu %lu", &ran, &ready) != 2)
			ready = 0;
		fclose(f);
	}
	return ready;
}

/* How often it lost its processor while it ran. */
static long preempted(void)
{
	struct rusage used;

	return getrusage(RUSAGE_THREAD, &used) == 0 ? used.ru_nivcsw : 0;
}

static _Atomic uint64_t ready; /* in calls during which the caller was preempted */
static _Atomic int tids[WAITERS_MAX];
static uint64_t cpu_at_work[WAITERS_MAX]; /* behind at_work */

/* It sleeps, or (a spin lock) burns time, in the call: main must not let it go before. */
static int is_in_call(pthread_t thread, int i)
{
	char path[64], line[256];
	clockid_t clock;
	FILE *file;
	int sleeps;

	if (way->hold == hold_spin)
		return pthread_getcpuclockid(thread, &clock) == 0 && now_ns(clock) > cpu_at_work[i] + 20000;
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tids[i]);
	file = fopen(path, "r");
	sleeps = file && fgets(line, sizeof(line), file) && strstr(line, ") S ");
	if (file)
		fclose(file);
	return sleeps;
}

static void *waiter(void *arg)
{
	int i = (int)(intptr_t)arg;

	atomic_store(&tids[i], (int)syscall(SYS_gettid));
	for (int r = 0;; r++) {
		uint64_t start, was_ready;
		long was_preempted;

		wait_while(&round_now, r);
		if (atomic_load(&round_now) < 0)
			return NULL;
		if (way->before)
			way->before(i);
		was_ready = ready_ns();
		was_preempted = preempted();
		cpu_at_work[i] = now_ns(CLOCK_THREAD_CPUTIME_ID);
		atomic_fetch_add(&at_work, 1);
		raw_futex(&at_work, FUTEX_WAKE_PRIVATE, 1);
		start = now_ns(CLOCK_MONOTONIC);
		waiter_calls(i);
		start = now_ns(CLOCK_MONOTONIC) - start;
		/* behind a sleep it is ready for a while, too: that is a part of the wait in everybody's books */
		if (preempted() != was_preempted)
			atomic_fetch_add(&ready, ready_ns() - was_ready);
		atomic_fetch_add(&waited, start);
		add_sums((double)start);
		atomic_fetch_add(&calls, 1);
		if (way->after)
			way->after(i);
		if (atomic_fetch_add(&done, 1) + 1 == waiters)
			raw_futex(&done, FUTEX_WAKE_PRIVATE, 1);
	}
}

static void one_round(int r, unsigned us, const pthread_t *threads)
{
	const struct timespec ts = { us / 1000000, us % 1000000 * 1000 };

	atomic_store(&at_work, 0);
	atomic_store(&done, 0);
	if (way->hold)
		way->hold();
	set_and_wake(&round_now, r + 1);
	for (int n; (n = atomic_load(&at_work)) < waiters;)
		raw_futex(&at_work, FUTEX_WAIT_PRIVATE, n);
	for (int i = 0; i < waiters; i++)
		while (!is_in_call(threads[i], i))
			usleep(50);
	nanosleep(&ts, NULL);
	way->release();
	for (int n; (n = atomic_load(&done)) < waiters;)
		raw_futex(&done, FUTEX_WAIT_PRIVATE, n);
}

int main(int argc, char **argv)
{
	pthread_t threads[WAITERS_MAX];

	if (argc == 2 && !strcmp(argv[1], "list")) {
		for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
			puts(ways[i].name);
		return 0;
	}
	if (argc < 5)
		return 2;
	rate = argc > 5 ? atof(argv[5]) : 0;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (!strcmp(ways[i].name, argv[1]))
			way = &ways[i];
	waiters = atoi(argv[2]);
	if (!way || waiters < 1 || waiters > WAITERS_MAX)
		return 2;
	if (way->make)
		way->make();
	for (int i = 0; i < waiters; i++)
		must(pthread_create(&threads[i], NULL, waiter, (void *)(intptr_t)i));
	for (int r = 0; r < atoi(argv[4]); r++)
		one_round(r, (unsigned)atoi(argv[3]), threads);
	printf("waited %lu %lu %lu %g %g %g\n", (unsigned long)waited, (unsigned long)calls, (unsigned long)ready,
	       squares, spread_time, spread_count);
	fflush(stdout);
	getchar();
	return 0;
}
