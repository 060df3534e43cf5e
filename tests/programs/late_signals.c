/* SPDX-License-Identifier: Apache-2.0 */
/*
 * N threads that compute, half of the time with every signal blocked: what is sent to them meanwhile comes
 * later; and one that computes and blocks none. Prints "ready"; for each line of input how often they opened
 * their masks; ends with its input.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static _Atomic unsigned opened;
static volatile uint64_t sink;

/* For several ticks of the kernel, and for longer than a profile takes to end. */
static void compute(void)
{
	for (int i = 0; i < 12000000; i++)
		sink = sink * 6364136223846793005u + 1;
}

static void *works(void *arg)
{
	sigset_t all, before;

	sigfillset(&all);
	for (;;) {
		compute();
		pthread_sigmask(SIG_SETMASK, &all, &before);
		compute();
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		atomic_fetch_add(&opened, 1);
	}
	return arg;
}

static void *only_computes(void *arg)
{
	for (;;)
		compute();
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t t;
	char byte;

	alarm(240); /* never outlive a test that went wrong */
	for (int i = argc > 1 ? atoi(argv[1]) : 1; i > 0; i--)
		pthread_create(&t, NULL, works, NULL);
	pthread_create(&t, NULL, only_computes, NULL);
	puts("ready");
	fflush(stdout);
	while (read(0, &byte, 1) == 1) {
		printf("%u\n", opened);
		fflush(stdout);
	}
	return 0;
}
