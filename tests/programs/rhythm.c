/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rhythm SLEEPERS: a thread that spins, one that sleeps, one that does each for half of its time (10 ms
 * of CPU, as long asleep as that took), and SLEEPERS more that sleep. Prints "ready"; for each line on
 * standard input "<ns that half_spin took> <ns that half_sleep took>" of the third since the line before.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

static _Atomic long spun, slept;
static _Atomic int started;
static volatile unsigned long sink;

static long now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static NOINLINE void *spin_always(void *arg)
{
	started++;
	for (;;)
		sink++;
	return NULL;
}

static NOINLINE void *sleep_always(void *arg)
{
	started++;
	for (;;)
		poll(NULL, 0, -1);
	return NULL;
}

static NOINLINE void half_spin(void)
{
	long end = now(CLOCK_THREAD_CPUTIME_ID) + 10000000;

	while (now(CLOCK_THREAD_CPUTIME_ID) < end)
		sink++;
}

static NOINLINE void half_sleep(long ns)
{
	struct timespec t = { 0, ns > 900000000 ? 900000000 : ns };

	nanosleep(&t, NULL);
}

static void *half(void *arg)
{
	started++;
	for (;;) {
		long a = now(CLOCK_MONOTONIC), b, c;

		half_spin();
		b = now(CLOCK_MONOTONIC);
		half_sleep(b - a);
		c = now(CLOCK_MONOTONIC);
		spun += b - a;
		slept += c - b;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int more = argc > 1 ? atoi(argv[1]) : 0;
	char line[16];
	pthread_t t;

	pthread_create(&t, NULL, spin_always, NULL);
	pthread_create(&t, NULL, sleep_always, NULL);
	pthread_create(&t, NULL, half, NULL);
	for (int i = 0; i < more; i++)
		if (pthread_create(&t, NULL, sleep_always, NULL))
			abort();
	while (started < 3 + more)
		usleep(1000);
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		printf("%ld %ld\n", atomic_exchange(&spun, 0), atomic_exchange(&slept, 0));
		fflush(stdout);
	}
	return 0;
}
