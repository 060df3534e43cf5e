/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks as fast as they go: prints ns per operation.
 *
 *   locks pair          lock + unlock of one mutex, in a process with a second, sleeping thread
 *   locks many          the same over 4096 mutexes
 *   locks contended N   N threads: lock, a little work, unlock, a little work (elapsed time)
 *   locks hold N        N threads: lock, 5 us of work, unlock, 5 us of work (elapsed time)
 *   locks pingpong      two threads hand a turn to each other through a condition (elapsed time)
 *   locks readers N     N threads: rdlock, a little work, unlock; one in 1000 is a wrlock (elapsed time)
 *   locks spin          spin lock + unlock
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MANY = 4096, RUN_MS = 300 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, many[MANY];
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_spinlock_t spin;
static _Atomic int stop;
static _Atomic uint64_t total;
static int turn, work_inside, work_outside;
static volatile uint64_t shared;

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void work(int n)
{
	for (int i = 0; i < n; i++)
		__asm__ volatile("" ::: "memory");
}

static void *sleeper(void *arg)
{
	pause();
	return NULL;
}

static void *contender(void *arg)
{
	uint64_t n = 0;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		pthread_mutex_lock(&mutex);
		shared++;
		work(work_inside);
		pthread_mutex_unlock(&mutex);
		work(work_outside);
		n++;
	}
	atomic_fetch_add(&total, n);
	return NULL;
}

static void *reader(void *arg)
{
	uint64_t n = 0;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		if (++n % 1000)
			pthread_rwlock_rdlock(&rwlock);
		else
			pthread_rwlock_wrlock(&rwlock);
		work(work_inside);
		pthread_rwlock_unlock(&rwlock);
		work(work_outside);
	}
	atomic_fetch_add(&total, n);
	return NULL;
}

static void *player(void *arg)
{
	int me = (int)(intptr_t)arg;
	uint64_t n = 0;

	pthread_mutex_lock(&mutex);
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		while (turn != me && !stop)
			pthread_cond_wait(&cond, &mutex);
		turn = 1 - me;
		n++;
		pthread_cond_signal(&cond);
	}
	pthread_mutex_unlock(&mutex);
	pthread_cond_broadcast(&cond);
	atomic_fetch_add(&total, n);
	return NULL;
}

static double threads(int n, void *(*run)(void *))
{
	const struct timespec ts = { RUN_MS / 1000, RUN_MS % 1000 * 1000000 };
	pthread_t made[64];
	uint64_t start = now_ns(CLOCK_MONOTONIC);

	for (int i = 0; i < n; i++)
		pthread_create(&made[i], NULL, run, (void *)(intptr_t)i);
	nanosleep(&ts, NULL);
	atomic_store(&stop, 1);
	for (int i = 0; i < n; i++)
		pthread_join(made[i], NULL);
	return (double)(now_ns(CLOCK_MONOTONIC) - start) / (double)total;
}

static double single(int kind)
{
	enum { N = 2000000 };
	pthread_t other;
	uint64_t best = UINT64_MAX;

	pthread_create(&other, NULL, sleeper, NULL);
	pthread_spin_init(&spin, 0);
	for (int i = 0; i < MANY; i++)
		pthread_mutex_init(&many[i], NULL);
	for (int round = 0; round < 7; round++) {
		uint64_t start = now_ns(CLOCK_THREAD_CPUTIME_ID), ns;

		for (unsigned i = 0; i < N; i++) {
			pthread_mutex_t *m = kind == 1 ? &many[i * 2654435761u >> 20] : &mutex;

			if (kind == 2) {
				pthread_spin_lock(&spin);
				pthread_spin_unlock(&spin);
			} else {
				pthread_mutex_lock(m);
				pthread_mutex_unlock(m);
			}
		}
		ns = now_ns(CLOCK_THREAD_CPUTIME_ID) - start;
		best = ns < best ? ns : best;
	}
	return (double)best / N;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	int n = argc > 2 ? atoi(argv[2]) : 2;
	double ns;

	work_inside = 30;
	work_outside = 60;
	if (!strcmp(what, "hold"))
		work_inside = work_outside = 10000;
	if (!strcmp(what, "pair"))
		ns = single(0);
	else if (!strcmp(what, "many"))
		ns = single(1);
	else if (!strcmp(what, "spin"))
		ns = single(2);
	else if (!strcmp(what, "contended") || !strcmp(what, "hold"))
		ns = threads(n, contender);
	else if (!strcmp(what, "readers"))
		ns = threads(n, reader);
	else if (!strcmp(what, "pingpong"))
		ns = threads(2, player);
	else
		return 2;
	printf("%.3f\n", ns);
	return 0;
}
