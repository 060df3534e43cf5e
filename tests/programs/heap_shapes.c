/* SPDX-License-Identifier: Apache-2.0 */
/* CFLAGS: -fno-builtin -O1 */
/*
 * Shapes of memory use over time.
 *
 *   heap_shapes leak RATE     leaks RATE bytes a second in leak_site, among 200 MB/s of churn in four
 *                             functions that keep 64 MB live between them, none of it for long
 *   heap_shapes spike         300 MB in three functions for 20 ms ("spiked"), then small things
 *   heap_shapes live N SIZE   N blocks of SIZE bytes, allocated from many different stacks
 *
 * Prints "ready" and goes on until stdin ends.
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")

#define SITE(name)                             \
	static NOINLINE void *name(size_t n)   \
	{                                      \
		void *p = malloc(n);           \
					       \
		KEEP(p);                       \
		return p;                      \
	}
SITE(leak_site)
SITE(churn_a)
SITE(churn_b)
SITE(churn_c)
SITE(churn_d)
SITE(spike_a)
SITE(spike_b)
SITE(spike_c)

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int input_ended(int wait_ms)
{
	struct pollfd p = { 0, POLLIN, 0 };
	char buf[64];

	return poll(&p, 1, wait_ms) > 0 && read(0, buf, sizeof(buf)) <= 0;
}

static void say(const char *text)
{
	printf("%s\n", text);
	fflush(stdout);
}

enum { RING = 4096, BLOCK = 4096 }; /* four rings of 16 MB */

static void leak(double rate)
{
	static void *ring[4][RING];
	void *(*const site[4])(size_t) = { churn_a, churn_b, churn_c, churn_d };
	double start, churned = 0, leaked = 0;
	unsigned at = 0;

	for (int i = 0; i < RING; i++)
		for (int k = 0; k < 4; k++)
			ring[k][i] = site[k](BLOCK);
	start = seconds();
	say("ready");
	while (!input_ended(1)) {
		double now = seconds() - start;

		for (; leaked < now * rate; leaked += 1000)
			leak_site(1000);
		if (now * 200e6 - churned > 50e6)
			churned = now * 200e6 - 50e6; /* a busy machine: do not run after it */
		for (; churned < now * 200e6; churned += 4 * BLOCK, at++)
			for (int k = 0; k < 4; k++) {
				free(ring[k][at % RING]);
				ring[k][at % RING] = site[k](BLOCK);
			}
	}
}

static void spike(void)
{
	static void *blocks[3][2000];

	for (int i = 0; i < 2000; i++) {
		blocks[0][i] = spike_a(100000);
		if (i < 1000)
			blocks[1][i] = spike_b(60000);
		if (i < 10)
			blocks[2][i] = spike_c(4000000);
	}
	usleep(20000);
	for (int k = 0; k < 3; k++)
		for (int i = 0; i < 2000; i++)
			free(blocks[k][i]);
	say("spiked");
	while (!input_ended(1))
		for (int i = 0; i < 100; i++)
			free(churn_a(50000));
}

/* A different stack for each bit pattern of n. */
static NOINLINE void *branch(unsigned n, int depth, size_t size);
static NOINLINE void *left(unsigned n, int depth, size_t size)
{
	void *p = branch(n >> 1, depth - 1, size);

	KEEP(p);
	return p;
}
static NOINLINE void *right(unsigned n, int depth, size_t size)
{
	void *p = branch(n >> 1, depth - 1, size);

	KEEP(p);
	return p;
}
static NOINLINE void *branch(unsigned n, int depth, size_t size)
{
	void *p = !depth ? malloc(size) : n & 1 ? right(n, depth, size) : left(n, depth, size);

	KEEP(p);
	return p;
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "leak")) {
		leak(atof(argv[2]));
	} else if (argc > 1 && !strcmp(argv[1], "spike")) {
		spike();
	} else if (argc > 3 && !strcmp(argv[1], "live")) {
		for (unsigned i = 0; i < (unsigned)atoi(argv[2]); i++)
			branch(i, 24, (size_t)atoi(argv[3]));
		say("ready");
		while (!input_ended(1000))
			;
	} else {
		return 2;
	}
	return 0;
}
