/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Burns CPU in spin_hot(), called from spin_outer(), in N threads beside main (default 0), for ever.
 * Prints "ready" first.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static volatile uint64_t sink;

__attribute__((noinline)) static void spin_hot(uint64_t x)
{
	for (int i = 0; i < 1000000; i++)
		x = x * 6364136223846793005u + 1;
	sink = x;
}

__attribute__((noinline)) static void *spin_outer(void *arg)
{
	for (uint64_t i = 0;; i++) {
		spin_hot(i);
		sink++;
	}
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t t;

	alarm(240); /* never outlive a test that went wrong */
	for (int i = argc > 1 ? atoi(argv[1]) : 0; i > 0; i--)
		pthread_create(&t, NULL, spin_outer, NULL);
	puts("ready");
	fflush(stdout);
	spin_outer(NULL);
	return 0;
}
