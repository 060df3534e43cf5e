/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that clone made and that shares the thread-local storage of main computes in beside_clone() while main
 * allocates and frees in beside_main(). A line begins it; the next line ends it. Then it prints how many blocks main
 * allocated, and ends with its standard input.
 */
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STACK = 256 << 10, ROUND = 500 };

static char stack[STACK] __attribute__((aligned(64)));
static _Atomic int stop;
static _Atomic int tid = 1;
static volatile uint64_t sink;
static void *volatile block;

/* No call of libc here: that would write to main's errno. */
static __attribute__((noinline)) int beside_clone(void *arg)
{
	while (!stop)
		sink = sink * 6364136223846793005u + 1442695040888963407u;
	return 0;
}

static __attribute__((noinline)) void beside_main(void)
{
	for (int i = 0; i < ROUND; i++) {
		block = malloc(48);
		free(block);
	}
}

int main(void)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };
	unsigned long count = 0;
	char c;

	alarm(600); /* never outlive a test that went wrong */
	puts("ready");
	fflush(stdout);
	while (read(0, &c, 1) == 1 && c != '\n')
		;
	if (clone(beside_clone, stack + STACK, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
		  CLONE_CHILD_CLEARTID, NULL, NULL, NULL, &tid) < 0)
		return 1;
	for (; poll(&in, 1, 0) == 0; count += ROUND)
		beside_main();
	stop = 1;
	while (tid)
		sched_yield();
	while (read(0, &c, 1) == 1 && c != '\n')
		;
	printf("%lu\n", count);
	fflush(stdout);
	while (read(0, &c, 1) == 1)
		;
	return 0;
}
