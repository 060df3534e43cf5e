/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two threads that work (allocate, lock, compute); for each line that comes, prints the units of work done
 * so far and the CPU time in ns of the whole process, the agent's thread included.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static _Atomic uint64_t units;
static volatile uint64_t sink;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void *work(void *arg)
{
	for (uint64_t x = 1;; atomic_fetch_add_explicit(&units, 1, memory_order_relaxed)) {
		void *p = malloc(100 + x % 1000);

		for (int i = 0; i < 3000; i++)
			x = x * 6364136223846793005u + 1442695040888963407u;
		pthread_mutex_lock(&mutex);
		sink += x;
		pthread_mutex_unlock(&mutex);
		free(p);
	}
	return arg;
}

int main(void)
{
	struct timespec t;
	pthread_t thread;
	char line[16];

	alarm(600);
	for (int i = 0; i < 2; i++)
		pthread_create(&thread, NULL, work, NULL);
	while (fgets(line, sizeof(line), stdin)) {
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
		printf("%lu %lu\n", (unsigned long)units, (unsigned long)t.tv_sec * 1000000000 + (unsigned long)t.tv_nsec);
		fflush(stdout);
	}
	return 0;
}
