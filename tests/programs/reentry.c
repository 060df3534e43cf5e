/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals that come every 100 us of real time while main does one thing again and again, and what their handler does
 * there. By its argument:
 *   alloc   main allocates, and so does the handler: needs an allocator that may be interrupted (tests/libraries/bump.c)
 *   jump    main posts to a semaphore, writes and reads: calls that a handler may leave by siglongjmp, and does
 * A line of input starts SECONDS of it; then it prints "done <signals> <allocations or jumps>" and works in
 * reentry_after(), which allocates, until the next line. Ends with its input.
 */
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static sigjmp_buf back;
static volatile sig_atomic_t may_jump, jumps;
static volatile unsigned long signals, allocated;
static volatile uint64_t sink;
static void *volatile kept;
static const char *kind;
static sem_t sem;
static int ends[2];

__attribute__((noinline)) static void in_handler(void)
{
	kept = malloc(100);
	free(kept);
	allocated++;
}

static void handler(int signal)
{
	signals++;
	if (kind[0] == 'a') {
		in_handler();
	} else if (may_jump) {
		may_jump = 0;
		jumps++;
		siglongjmp(back, 1);
	}
}

__attribute__((noinline)) static void reentry_before(void)
{
	char byte = 0;

	if (kind[0] == 'a') {
		kept = malloc(64);
		free(kept);
		return;
	}
	sem_post(&sem);
	if (write(ends[1], &byte, 1) == 1 && read(ends[0], &byte, 1) == 1)
		sem_trywait(&sem);
}

__attribute__((noinline)) static void reentry_after(void)
{
	kept = malloc(5000);
	free(kept);
	for (int i = 0; i < 20000; i++)
		sink = sink * 6364136223846793005u + 1;
}

static int line_is_there(void)
{
	struct timeval none = { 0, 0 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(0, &set);
	return select(1, &set, NULL, NULL, &none) > 0;
}

static void storm(double seconds)
{
	struct itimerval every = { { 0, 100 }, { 0, 100 } }, never = { { 0, 0 }, { 0, 0 } };
	struct timespec begin, now;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	setitimer(ITIMER_REAL, &every, NULL);
	do {
		if (sigsetjmp(back, 1) == 0) {
			may_jump = kind[0] == 'j';
			for (int i = 0; i < 1000; i++)
				reentry_before();
		}
		may_jump = 0;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((double)(now.tv_sec - begin.tv_sec) + (double)(now.tv_nsec - begin.tv_nsec) / 1e9 < seconds);
	setitimer(ITIMER_REAL, &never, NULL);
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = handler };
	char line[32];

	if (argc < 2 || pipe(ends) != 0)
		return 2;
	kind = argv[1];
	sem_init(&sem, 0, 0);
	sigaction(SIGALRM, &act, NULL);
	setrlimit(RLIMIT_CPU, &(struct rlimit){ 240, 240 }); /* never outlive a test that went wrong; the alarm is in use */
	puts("ready");
	fflush(stdout);
	while (read(0, line, sizeof(line)) > 0) {
		storm(argc > 2 ? atof(argv[2]) : 2);
		printf("done %lu %lu\n", signals, kind[0] == 'a' ? allocated : (unsigned long)jumps);
		fflush(stdout);
		while (!line_is_there())
			reentry_after();
	}
	return 0;
}
