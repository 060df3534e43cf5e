/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace_waits: threads that wait for known times, and say for how long.
 *
 * Once a line comes on stdin, `holder` takes a mutex for 300 ms while two threads named locker0 and
 * locker1 wait for it; then a thread waits 250 ms for a condition, and main joins a thread that lives
 * 200 ms of CPU time. Prints "waited NAME NS NS" for each, up to the moment when it was let go and when it went on (a
 * busy machine is between these), and waits for the end of stdin.
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
static struct waited {
	_Atomic uint64_t let_go, went_on;
} in_mutex, in_cond, in_join;
static uint64_t unlocked, signalled; /* when */
static volatile uint64_t sum;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void add(struct waited *to, uint64_t start, uint64_t let_go)
{
	to->went_on += now_ns() - start;
	to->let_go += let_go > start ? let_go - start : 0;
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
	unlocked = now_ns();
	pthread_mutex_unlock(&mutex);
}

static void *holder(void *arg)
{
	prctl(PR_SET_NAME, "holder");
	hold_it();
	return (void *)now_ns();
}

static NOINLINE void take_it(void)
{
	uint64_t start = now_ns();

	pthread_mutex_lock(&mutex);
	add(&in_mutex, start, unlocked);
	unlocked = now_ns();
	pthread_mutex_unlock(&mutex);
}

static void *locker(void *arg)
{
	prctl(PR_SET_NAME, arg);
	pthread_barrier_wait(&at_start);
	take_it();
	return (void *)now_ns();
}

static NOINLINE void await_it(void)
{
	uint64_t start;

	pthread_mutex_lock(&other);
	start = now_ns();
	pthread_cond_wait(&cond, &other);
	add(&in_cond, start, signalled);
	pthread_mutex_unlock(&other);
}

static void *awaiter(void *arg)
{
	await_it();
	return (void *)now_ns();
}

static NOINLINE void burn(void)
{
	for (uint64_t end = cpu_ns() + 200000000; cpu_ns() < end;)
		for (int i = 0; i < 1000; i++)
			sum += (uint64_t)i;
}

static void *burner(void *arg)
{
	burn();
	return (void *)now_ns();
}

static NOINLINE void join_it(pthread_t thread)
{
	uint64_t start = now_ns();
	void *ended;

	pthread_join(thread, &ended);
	add(&in_join, start, (uint64_t)ended);
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
	for (int i = 0; i < 3; i++)
		join_it(threads[i]);
	one = begin(awaiter, NULL);
	pause_ms(250);
	pthread_mutex_lock(&other);
	signalled = now_ns();
	pthread_cond_signal(&cond);
	pthread_mutex_unlock(&other);
	join_it(one);
	join_it(begin(burner, NULL));
}

static void say(const char *name, const struct waited *waited)
{
	printf("waited %s %lu %lu\n", name, (unsigned long)waited->let_go, (unsigned long)waited->went_on);
}

int main(void)
{
	puts("ready");
	fflush(stdout);
	if (getchar() == EOF)
		return 1;
	work();
	say("mutex", &in_mutex);
	say("cond", &in_cond);
	say("join", &in_join);
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
