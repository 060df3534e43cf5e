/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace_waits: threads that wait for known times, and say for how long.
 *
 * Once a line comes on stdin, `holder` takes a mutex for 300 ms while two threads named locker0 and
 * locker1 wait for it; then a thread waits 250 ms for a condition, and main joins a thread that lives
 * 200 ms. Prints "waited NAME NS" for each and waits for the end of stdin.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#define NOINLINE __attribute__((noinline))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, other = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t at_start;
static _Atomic uint64_t waited_mutex, waited_cond, waited_join;
static volatile uint64_t sum;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void pause_ms(long ms)
{
	const struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

static NOINLINE void hold_it(void)
{
	pthread_mutex_lock(&mutex);
	pthread_barrier_wait(&at_start);
	pause_ms(300);
	pthread_mutex_unlock(&mutex);
}

static void *holder(void *arg)
{
	prctl(PR_SET_NAME, "holder");
	hold_it();
	return NULL;
}

static NOINLINE void take_it(void)
{
	uint64_t start = now_ns();

	pthread_mutex_lock(&mutex);
	waited_mutex += now_ns() - start;
	pthread_mutex_unlock(&mutex);
}

static void *locker(void *arg)
{
	prctl(PR_SET_NAME, arg);
	pthread_barrier_wait(&at_start);
	take_it();
	return NULL;
}

static NOINLINE void await_it(void)
{
	uint64_t start;

	pthread_mutex_lock(&other);
	start = now_ns();
	pthread_cond_wait(&cond, &other);
	waited_cond += now_ns() - start;
	pthread_mutex_unlock(&other);
}

static void *awaiter(void *arg)
{
	await_it();
	return NULL;
}

static NOINLINE void burn(void)
{
	for (uint64_t end = now_ns() + 200000000; now_ns() < end;)
		for (int i = 0; i < 1000; i++)
			sum += (uint64_t)i;
}

static void *burner(void *arg)
{
	burn();
	return NULL;
}

static NOINLINE void join_it(pthread_t thread)
{
	uint64_t start = now_ns();

	pthread_join(thread, NULL);
	waited_join += now_ns() - start;
}

static pthread_t begin(void *(*routine)(void *), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, routine, arg) != 0)
		abort();
	return thread;
}

static NOINLINE void work(void)
{
	pthread_t threads[3], one;

	pthread_barrier_init(&at_start, NULL, 3);
	threads[0] = begin(holder, NULL);
	threads[1] = begin(locker, "locker0");
	threads[2] = begin(locker, "locker1");
	pause_ms(400); /* so that the joins below find threads that have ended */
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	one = begin(awaiter, NULL);
	pause_ms(250);
	pthread_mutex_lock(&other);
	pthread_cond_signal(&cond);
	pthread_mutex_unlock(&other);
	pause_ms(50);
	pthread_join(one, NULL);
	join_it(begin(burner, NULL));
}

int main(void)
{
	puts("ready");
	fflush(stdout);
	if (getchar() == EOF)
		return 1;
	work();
	printf("waited mutex %lu\nwaited cond %lu\nwaited join %lu\n", (unsigned long)waited_mutex,
	       (unsigned long)waited_cond, (unsigned long)waited_join);
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
