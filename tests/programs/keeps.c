/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CFLAGS: -fno-builtin
 * LDLIBS: -Wl,-z,now
 *   keeps errno SECONDS    computes for so long, and counts how often errno changed meanwhile
 *   keeps realloc          a block of 1 MiB whose realloc fails; says "failed", frees it at the end of stdin
 *   keeps refused          threads that cannot begin; then main ends before the last thread, which prints "last"
 *   keeps small SECONDS    computes on a stack of 2 KiB with a guard page below and an alternate one for handlers
 *   keeps execs PROGRAM    20 children that allocate and become PROGRAM
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static int keep_errno(double seconds)
{
	unsigned long rounds = 0, changed = 0;
	volatile int *now = &errno; /* what a handler does to it is not seen by the compiler */
	clock_t end = clock() + (clock_t)(seconds * CLOCKS_PER_SEC);
	volatile unsigned sum = 0;

	while (clock() < end) {
		*now = 5;
		for (unsigned i = 0; i < 100000; i++)
			sum += i;
		rounds++;
		changed += *now != 5;
	}
	printf("%s, %lu changed\n", rounds > 100 ? "many rounds" : "few rounds", changed);
	return 0;
}

static __attribute__((noinline)) void *keep_block(void)
{
	void *volatile block = malloc(1 << 20);

	if (realloc(block, PTRDIFF_MAX / 2))
		return NULL;
	return block;
}

static int fail_realloc(void)
{
	void *block = keep_block();

	printf(block && errno == ENOMEM ? "failed\n" : "did not fail\n");
	fflush(stdout);
	while (getchar() != EOF)
		;
	free(block);
	return 0;
}

static void *last(void *arg)
{
	usleep(100000);
	printf("last\n");
	return arg;
}

static int refuse(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	int refused = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, (size_t)1 << 46);
	for (int i = 0; i < 10; i++)
		refused += pthread_create(&thread, &attr, last, NULL) != 0;
	if (refused != 10 || pthread_create(&thread, NULL, last, NULL) != 0)
		return 2;
	pthread_detach(thread);
	pthread_exit(NULL);
}

static ucontext_t first, second;
static double burn_seconds;

static void compute(void)
{
	clock_t end = clock() + (clock_t)(burn_seconds * CLOCKS_PER_SEC);
	volatile unsigned sum = 0;

	while (clock() < end)
		for (unsigned i = 0; i < 1000000; i++)
			sum += i;
}

static int use_small_stack(double seconds)
{
	char *at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t handlers = { .ss_sp = malloc(65536), .ss_size = 65536 };

	if (at == MAP_FAILED || mprotect(at, 4096, PROT_NONE) != 0 || sigaltstack(&handlers, NULL) != 0)
		return 2;
	burn_seconds = seconds;
	getcontext(&second);
	second.uc_stack.ss_sp = at + 4096;
	second.uc_stack.ss_size = 2048;
	second.uc_link = &first;
	makecontext(&second, compute, 0);
	if (swapcontext(&first, &second) != 0)
		return 3;
	printf("whole\n");
	return 0;
}

static int exec_children(char **argv)
{
	for (int i = 0; i < 20; i++) {
		pid_t child = fork();

		if (child == 0) {
			void *volatile block = malloc(1000);

			free(block);
			execv(argv[0], argv);
			_exit(127);
		}
		if (child < 0 || waitpid(child, NULL, 0) != child)
			return 2;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	alarm(60);
	if (!strcmp(argv[1], "errno"))
		return keep_errno(atof(argv[2]));
	if (!strcmp(argv[1], "realloc"))
		return fail_realloc();
	if (!strcmp(argv[1], "refused"))
		return refuse();
	if (!strcmp(argv[1], "small"))
		return use_small_stack(atof(argv[2]));
	return exec_children(argv + 2);
}
