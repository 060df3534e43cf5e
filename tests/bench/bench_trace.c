/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_trace calls: a call that the kernel refuses at once, read(-1), through whoever stands before libc and
 * through libc itself, in turns: ns of a direct call, and what the other way takes more (median, quartiles).
 *
 * bench_trace pass N: once a line comes on stdin, four threads pass a token N times by semaphores: a wait
 * each. Prints "done NS", and ends with its stdin.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BATCHES = 3001, CALLS = 2000, THREADS = 4 };
typedef ssize_t read_fn(int fd, void *to, size_t size);

static sem_t turns[THREADS];
static long passes;

static uint64_t ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static double batch(read_fn *function)
{
	uint64_t start = ns(CLOCK_THREAD_CPUTIME_ID);
	char byte;

	for (int i = 0; i < CALLS; i++)
		if (function(-1, &byte, 1) >= 0)
			abort();
	return (double)(ns(CLOCK_THREAD_CPUTIME_ID) - start) / CALLS;
}

static int by_value(const void *a, const void *b)
{
	return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static int calls(void)
{
	static double direct[BATCHES], more[BATCHES];
	read_fn *libc = (read_fn *)dlsym(dlopen("libc.so.6", RTLD_LAZY), "read");

	if (!libc)
		return 1;
	for (int i = 0; i < BATCHES; i++) {
		direct[i] = batch(libc);
		more[i] = batch(read) - direct[i];
	}
	qsort(direct, BATCHES, sizeof(double), by_value);
	qsort(more, BATCHES, sizeof(double), by_value);
	printf("%.2f %.2f %.2f %.2f\n", direct[BATCHES / 2], more[BATCHES / 4], more[BATCHES / 2], more[3 * BATCHES / 4]);
	return 0;
}

static void *passer(void *arg)
{
	long me = (long)arg;

	for (long i = 0; i < passes; i++) {
		sem_wait(&turns[me]);
		sem_post(&turns[(me + 1) % THREADS]);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	uint64_t start;

	if (argc < 3 || strcmp(argv[1], "pass") != 0)
		return calls();
	passes = atol(argv[2]) / THREADS;
	printf("ready\n");
	fflush(stdout);
	if (getchar() == EOF)
		return 1;
	start = ns(CLOCK_MONOTONIC);
	for (long i = 0; i < THREADS; i++)
		sem_init(&turns[i], 0, 0);
	for (long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, passer, (void *)i);
	sem_post(&turns[0]);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("done %lu\n", (unsigned long)(ns(CLOCK_MONOTONIC) - start));
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
