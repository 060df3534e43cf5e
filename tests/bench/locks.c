/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks as fast as they go: prints ns per operation (elapsed time).
 *
 *   locks pair          lock + unlock of one mutex, in a process with a second, sleeping thread
 *   locks many          the same over 4096 mutexes
 *   locks rdlock        rdlock + unlock
 *   locks wrlock        wrlock + unlock
 *   locks sem           sem_wait + sem_post
 *   locks spin          spin lock + unlock
 *       These print four numbers: ns of libc's own functions, and what a pair costs more as the program
 *       calls it: lower quartile, median, upper quartile. Chunk against chunk, in random order.
 *   locks contended N   N threads: lock, a little work, unlock, a little work
 *   locks hold N        N threads: lock, 5 us of work, unlock, 5 us of work
 *   locks pingpong      two threads hand a turn to each other through a condition
 *   locks readers N     N threads: rdlock, a little work, unlock; one in 1000 is a wrlock
 */
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
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

static void threads(int n, void *(*run)(void *))
{
	const struct timespec ts = { RUN_MS / 1000, RUN_MS % 1000 * 1000000 };
	pthread_t made[64];
	uint64_t start = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);

	for (int i = 0; i < n; i++)
		pthread_create(&made[i], NULL, run, (void *)(intptr_t)i);
	nanosleep(&ts, NULL);
	atomic_store(&stop, 1);
	for (int i = 0; i < n; i++)
		pthread_join(made[i], NULL);
	printf("%.3f %.3f\n", (double)(now_ns(CLOCK_MONOTONIC) - start) / (double)total,
	       (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / (double)total);
}

/* ---- pairs without contention ---- */

enum { CHUNK = 4096, ROUNDS = 1500 };

typedef int call(void *);
struct pair {
	const char *name;
	const char *take_name, *give_name;
	call *take, *give; /* as the program calls them */
	void *what;
};

static sem_t sem;
static struct pair pairs[] = {
	{ "pair", "pthread_mutex_lock", "pthread_mutex_unlock", (call *)pthread_mutex_lock,
	  (call *)pthread_mutex_unlock, &mutex },
	{ "many", "pthread_mutex_lock", "pthread_mutex_unlock", (call *)pthread_mutex_lock,
	  (call *)pthread_mutex_unlock, NULL },
	{ "rdlock", "pthread_rwlock_rdlock", "pthread_rwlock_unlock", (call *)pthread_rwlock_rdlock,
	  (call *)pthread_rwlock_unlock, &rwlock },
	{ "wrlock", "pthread_rwlock_wrlock", "pthread_rwlock_unlock", (call *)pthread_rwlock_wrlock,
	  (call *)pthread_rwlock_unlock, &rwlock },
	{ "sem", "sem_wait", "sem_post", (call *)sem_wait, (call *)sem_post, &sem },
	{ "spin", "pthread_spin_lock", "pthread_spin_unlock", (call *)pthread_spin_lock,
	  (call *)pthread_spin_unlock, (void *)&spin },
};

static __attribute__((noinline)) double chunk(call *take, call *give, void *what)
{
	uint64_t start = now_ns(CLOCK_MONOTONIC);

	for (unsigned i = 0; i < CHUNK; i++) {
		void *at = what ? what : &many[i];

		take(at);
		__asm__ volatile("" ::: "memory");
		give(at);
	}
	return (double)(now_ns(CLOCK_MONOTONIC) - start) / CHUNK;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void compare(const struct pair *p)
{
	static double bare[ROUNDS], more[ROUNDS];
	void *libc = dlopen("libc.so.6", RTLD_NOW);
	call *take = (call *)dlsym(libc, p->take_name), *give = (call *)dlsym(libc, p->give_name);
	pthread_t other;

	pthread_create(&other, NULL, sleeper, NULL);
	pthread_spin_init(&spin, 0);
	sem_init(&sem, 0, 1);
	for (int i = 0; i < MANY; i++)
		pthread_mutex_init(&many[i], NULL);
	for (int r = 0; r < ROUNDS; r++) {
		double hooked = 0;

		if (rand() & 1)
			hooked = chunk(p->take, p->give, p->what);
		bare[r] = chunk(take, give, p->what);
		if (!hooked)
			hooked = chunk(p->take, p->give, p->what);
		more[r] = hooked - bare[r];
	}
	qsort(bare, ROUNDS, sizeof(bare[0]), ascending);
	qsort(more, ROUNDS, sizeof(more[0]), ascending);
	printf("%.2f %.2f %.2f %.2f\n", bare[ROUNDS / 2], more[ROUNDS / 4], more[ROUNDS / 2],
	       more[ROUNDS * 3 / 4]);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	int n = argc > 2 ? atoi(argv[2]) : 2;

	work_inside = 30;
	work_outside = 60;
	if (!strcmp(what, "hold"))
		work_inside = work_outside = 10000;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (strcmp(what, pairs[i].name))
			continue;
		compare(&pairs[i]);
		return 0;
	}
	if (!strcmp(what, "contended") || !strcmp(what, "hold"))
		threads(n, contender);
	else if (!strcmp(what, "readers"))
		threads(n, reader);
	else if (!strcmp(what, "pingpong"))
		threads(2, player);
	else
		return 2;
	return 0;
}
