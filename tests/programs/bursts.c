/* SPDX-License-Identifier: Apache-2.0 */
/*
 * N threads that compute for a millisecond or two and then sleep for one, again and again, none prepared
 * for EINTR. Prints "ready"; answers each line with "<sleeps> <EINTR>"; ends with its standard input.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static _Atomic unsigned sleeps, interrupted;
static volatile uint64_t sink;

static void *burst(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	struct timespec start, now, pause = { 0, 1000000 };

	for (;;) {
		long us = 500 + (seed = seed * 1103515245u + 12345u) / 65536 % 1500;

		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
		do {
			for (int i = 0; i < 2000; i++)
				sink = sink * 6364136223846793005u + 1;
			clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
		} while ((now.tv_sec - start.tv_sec) * 1000000 + (now.tv_nsec - start.tv_nsec) / 1000 < us);
		interrupted += nanosleep(&pause, NULL) != 0 && errno == EINTR;
		sleeps++;
	}
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	char line[64];

	alarm(120);
	for (int i = argc > 1 ? atoi(argv[1]) : 4; i > 0; i--)
		pthread_create(&thread, NULL, burst, (void *)(uintptr_t)i);
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		printf("%u %u\n", (unsigned)sleeps, (unsigned)interrupted);
		fflush(stdout);
	}
	return 0;
}
