/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Code that works on unusual stacks, one kind a word of the command line: recursion (400 calls deep and
 * back), alternate (a signal handler on a stack of its own), nested (a second one inside it, on the same),
 * minimal (threads with PTHREAD_STACK_MIN), coroutines (makecontext, stacks of 2 to 16 KiB with a pattern
 * above and below that must stay). Two threads of each. Prints "ready", ends when its standard input does;
 * then status 0, or 1 when a pattern was written over.
 */
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

enum { THREADS = 2, DEPTH = 400, COROUTINES = 5, GUARD = 16384 };

static _Atomic int stop, broken;

static NOINLINE uint64_t odd_work(uint64_t x)
{
	for (int i = 0; i < 20000; i++)
		x = x * 6364136223846793005u + 1442695040888963407u;
	return x;
}

/* ---- recursion */

static NOINLINE uint64_t recurse(uint64_t x, unsigned depth)
{
	volatile uint64_t here = odd_work(x) ^ depth;

	if (depth)
		here ^= recurse(here, depth - 1);
	return here;
}

static void *recursion(void *arg)
{
	volatile uint64_t x = 1;

	while (!stop)
		x = recurse(x, DEPTH);
	return arg;
}

/* ---- signal handlers on alternate stacks */

static __thread volatile uint64_t handled;

static NOINLINE void inner_handler(int sig)
{
	for (int i = 0; i < 50; i++)
		handled = odd_work(handled);
}

static NOINLINE void outer_handler(int sig)
{
	for (int i = 0; i < 25; i++)
		handled = odd_work(handled);
	raise(SIGUSR2);
	for (int i = 0; i < 25; i++)
		handled = odd_work(handled);
}

static void handle(int sig, void (*handler)(int))
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = SA_ONSTACK };

	sigaction(sig, &act, NULL);
}

static void raise_for_ever(int sig)
{
	/* two pages of headroom over what the kernel says that a frame takes */
	size_t size = (size_t)sysconf(_SC_MINSIGSTKSZ) * 2 + 8192;
	stack_t stack = { .ss_sp = malloc(size), .ss_size = size };

	if (!stack.ss_sp || sigaltstack(&stack, NULL) != 0)
		exit(2);
	while (!stop)
		raise(sig);
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, NULL);
	free(stack.ss_sp);
}

static void *alternate(void *arg)
{
	handle(SIGUSR2, inner_handler);
	raise_for_ever(SIGUSR2);
	return arg;
}

static void *nested(void *arg)
{
	handle(SIGUSR2, inner_handler);
	handle(SIGUSR1, outer_handler);
	raise_for_ever(SIGUSR1);
	return arg;
}

/* ---- threads with the least stack */

static void *minimal(void *arg)
{
	volatile uint64_t x = 1;

	while (!stop)
		x = odd_work(x);
	return arg;
}

/* ---- coroutines */

static __thread ucontext_t scheduler;
static __thread ucontext_t contexts[COROUTINES];

static NOINLINE uint64_t in_coroutine(uint64_t x)
{
	return odd_work(x) + 1;
}

static void coroutine(int which)
{
	volatile uint64_t x = 1;

	for (;;) {
		for (int i = 0; i < 20; i++)
			x = in_coroutine(x);
		swapcontext(&contexts[which], &scheduler);
	}
}

/* Memory of `size` bytes between two areas that nobody may touch. */
static unsigned char *guarded(size_t size)
{
	unsigned char *all = malloc(size + 2 * GUARD);

	if (!all)
		exit(2);
	memset(all, 0xa5, size + 2 * GUARD);
	return all + GUARD;
}

static void check_guard(const unsigned char *at)
{
	for (int i = 0; i < GUARD; i++)
		if (at[i] != 0xa5)
			broken = 1;
}

static void *coroutines(void *arg)
{
	static const size_t sizes[COROUTINES] = { 2048, 3072, 4096, 8192, 16384 };
	unsigned char *stacks[COROUTINES];

	for (int i = 0; i < COROUTINES; i++) {
		stacks[i] = guarded(sizes[i]);
		getcontext(&contexts[i]);
		contexts[i].uc_stack.ss_sp = stacks[i];
		contexts[i].uc_stack.ss_size = sizes[i];
		contexts[i].uc_link = &scheduler;
		makecontext(&contexts[i], (void (*)(void))coroutine, 1, i);
	}
	for (int i = 0; !stop; i = (i + 1) % COROUTINES)
		swapcontext(&scheduler, &contexts[i]);
	for (int i = 0; i < COROUTINES; i++) {
		check_guard(stacks[i] - GUARD);
		check_guard(stacks[i] + sizes[i]);
		free(stacks[i] - GUARD);
	}
	return arg;
}

static const struct {
	const char *name;
	void *(*run)(void *);
	size_t stack;
} kinds[] = {
	{ "recursion", recursion, 1 << 20 },
	{ "alternate", alternate, 1 << 20 },
	{ "nested", nested, 1 << 20 },
	{ "minimal", minimal, 0 }, /* PTHREAD_STACK_MIN */
	{ "coroutines", coroutines, 1 << 20 },
};

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	char byte;
	int n = 0;

	alarm(300);
	for (unsigned k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
		pthread_attr_t attr;

		if (argc < 2 || strcmp(argv[1], kinds[k].name) != 0)
			continue;
		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, kinds[k].stack ? kinds[k].stack : (size_t)PTHREAD_STACK_MIN);
		for (; n < THREADS; n++)
			if (pthread_create(&threads[n], &attr, kinds[k].run, NULL) != 0)
				return 2;
	}
	if (!n) {
		fprintf(stderr, "usage: odd_stacks recursion|alternate|nested|minimal|coroutines\n");
		return 2;
	}
	puts("ready");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	stop = 1;
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return broken;
}
