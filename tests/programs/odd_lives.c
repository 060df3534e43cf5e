/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CFLAGS: -Wno-infinite-recursion
 * What programs may do and profilers stumble over; the argument says which:
 *   overflow   runs out of stack and says so from a handler on an alternate stack, five times by siglongjmp
 *   keys       takes every thread-specific key that is left; then threads begin, allocate and end
 *   bounds     threads ask for their own stack's bounds while others allocate, begin and end
 *   altstack   threads ask for their alternate signal stack, set one of their own, take it away, in all orders
 *   spawn      2,000 children by vfork, posix_spawn, system and popen
 *   locked     locks all memory, present and future, and prints how much that is
 *   late PATH  loads and unloads a library a hundred times while threads allocate
 * Prints what it found, nothing that differs from run to run (but for "locked").
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { THREADS = 16 };

static sigjmp_buf back;
static atomic_bool stop;
static atomic_int broken;

/* ---- overflow */

static void on_fault(int sig)
{
	siglongjmp(back, sig);
}

static int __attribute__((noinline)) deeper(volatile char *above)
{
	volatile char here[500];

	here[0] = above[0];
	return deeper(here) + here[1];
}

static int overflow(void)
{
	static char stack[64 << 10];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction act = { .sa_handler = on_fault, .sa_flags = SA_ONSTACK };
	volatile char first[2] = { 1 };

	sigaltstack(&alternate, NULL);
	sigaction(SIGSEGV, &act, NULL);
	for (volatile int i = 0; i < 5; i++) {
		int sig = sigsetjmp(back, 1);

		if (sig)
			printf("stack overflow %d: signal %d\n", i, sig);
		else
			deeper(first);
	}
	return 0;
}

/* ---- threads that allocate */

static void *allocate_until_stop(void *arg)
{
	while (!atomic_load(&stop)) {
		char *p = malloc(3000);

		if (!p)
			atomic_fetch_add(&broken, 1);
		else
			p[2999] = 1;
		free(p);
	}
	return arg;
}

static void *allocate_once(void *arg)
{
	char *p = calloc(10, 100);

	if (!p || p[999])
		atomic_fetch_add(&broken, 1);
	free(p);
	return arg;
}

static void start(pthread_t *threads, int n, void *(*work)(void *))
{
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, work, NULL) != 0)
			abort();
}

static void join(pthread_t *threads, int n)
{
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

static int keys(void)
{
	pthread_t threads[THREADS];
	pthread_key_t key;

	while (pthread_key_create(&key, NULL) == 0)
		;
	for (int round = 0; round < 100; round++) {
		start(threads, THREADS, allocate_once);
		join(threads, THREADS);
	}
	printf("1600 threads, %d broken\n", atomic_load(&broken));
	return 0;
}

/* ---- alternate stacks */

static atomic_int handled;

static void on_signal(int sig)
{
	stack_t now;
	char here;

	if (sigaltstack(NULL, &now) != 0 ||
	    ((now.ss_flags & SS_ONSTACK) != 0) != (&here >= (char *)now.ss_sp && &here < (char *)now.ss_sp + now.ss_size))
		atomic_fetch_add(&broken, 1);
	atomic_fetch_add(&handled, 1);
}

static bool stack_is(const void *at)
{
	stack_t now;

	return sigaltstack(NULL, &now) == 0 &&
	       (at ? now.ss_sp == at && now.ss_size == 32 << 10 && !now.ss_flags : now.ss_flags == SS_DISABLE);
}

static void *change_stacks(void *arg)
{
	void *own = mmap(NULL, 32 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t set = { .ss_sp = own, .ss_size = 32 << 10 }, none = { .ss_flags = SS_DISABLE }, old;
	stack_t small = { .ss_sp = own, .ss_size = 100 };
	int bad = 0;

	bad += !stack_is(NULL);
	raise(SIGUSR1);
	bad += sigaltstack(&small, NULL) != -1 || errno != ENOMEM || !stack_is(NULL);
	bad += sigaltstack(&set, &old) != 0 || old.ss_flags != SS_DISABLE || !stack_is(own);
	raise(SIGUSR1);
	bad += sigaltstack(&none, &old) != 0 || old.ss_sp != own || !stack_is(NULL);
	bad += sigaltstack(&none, &old) != 0 || old.ss_flags != SS_DISABLE;
	bad += sigaltstack(&set, NULL) != 0 || !stack_is(own);
	if (arg) {
		bad += sigaltstack(&none, NULL) != 0 || !stack_is(NULL);
		munmap(own, 32 << 10);
	}
	atomic_fetch_add(&broken, bad);
	return own;
}

/* What a runtime does that frees whatever stack it finds at the end of a thread. */
static void *free_what_is_there(void *arg)
{
	stack_t none = { .ss_flags = SS_DISABLE }, old;

	if (sigaltstack(&none, &old) == 0 && !(old.ss_flags & SS_DISABLE))
		munmap(old.ss_sp, old.ss_size);
	return arg;
}

static int alternate(void)
{
	struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
	pthread_t threads[THREADS];

	sigaction(SIGUSR1, &act, NULL);
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < THREADS; i++)
			if (pthread_create(&threads[i], NULL, i % 3 ? change_stacks : free_what_is_there,
					   i % 2 ? "" : NULL) != 0)
				abort();
		join(threads, THREADS);
	}
	change_stacks("");
	printf("%d handled, %d broken\n", atomic_load(&handled), atomic_load(&broken));
	return 0;
}

static void *ask_bounds(void *arg)
{
	for (int i = 0; i < 3000; i++) {
		pthread_attr_t attr;
		void *at = NULL;
		size_t size = 0;

		if (pthread_getattr_np(pthread_self(), &attr) != 0 || pthread_attr_getstack(&attr, &at, &size) != 0 ||
		    (char *)&attr < (char *)at || (char *)&attr > (char *)at + size)
			atomic_fetch_add(&broken, 1);
		pthread_attr_destroy(&attr);
	}
	return arg;
}

static int bounds(void)
{
	pthread_t allocating[4], asking[4], passing[THREADS];

	start(allocating, 4, allocate_until_stop);
	start(asking, 4, ask_bounds);
	for (int round = 0; round < 20; round++) {
		start(passing, THREADS, allocate_once);
		join(passing, THREADS);
	}
	ask_bounds(NULL);
	join(asking, 4);
	atomic_store(&stop, true);
	join(allocating, 4);
	printf("15000 answers, %d broken\n", atomic_load(&broken));
	return 0;
}

/* ---- children */

static int status_of(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int spawn(void)
{
	char *argv[] = { "sh", "-c", "exit 7", NULL };
	char line[16];
	volatile int wrong = 0; /* vfork returns twice */

	for (volatile int i = 0; i < 500; i++) {
		void *kept = malloc((size_t)i + 1);
		pid_t pid = vfork();
		FILE *pipe;

		if (pid == 0) {
			execv("/bin/sh", argv);
			_exit(99);
		}
		wrong += status_of(pid) != 7;
		if (posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) != 0)
			wrong++;
		else
			wrong += status_of(pid) != 7;
		if (i % 10 == 0) {
			wrong += WEXITSTATUS(system("exit 5")) != 5;
			pipe = popen("echo word", "r");
			wrong += !pipe || !fgets(line, sizeof(line), pipe) || strcmp(line, "word\n") != 0;
			if (pipe)
				wrong += pclose(pipe) != 0;
		}
		free(kept);
	}
	printf("children: %d wrong\n", wrong);
	return 0;
}

/* ---- memory, libraries */

static int locked(void)
{
	char line[200];
	FILE *status;

	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
		perror("mlockall");
		return 1;
	}
	free(malloc(1000000));
	status = fopen("/proc/self/status", "r");
	while (status && fgets(line, sizeof(line), status))
		if (!strncmp(line, "VmLck:", 6))
			fputs(line, stdout);
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}

static int late(const char *path)
{
	pthread_t threads[4];

	start(threads, 4, allocate_until_stop);
	for (int i = 0; i < 100; i++) {
		void *library = dlopen(path, RTLD_NOW | (i % 2 ? RTLD_GLOBAL : RTLD_LOCAL));

		if (!library || dlclose(library) != 0) {
			printf("%s\n", dlerror());
			return 1;
		}
		free(malloc(100));
	}
	atomic_store(&stop, true);
	join(threads, 4);
	printf("loaded 100 times, %d broken, %s\n", atomic_load(&broken),
	       dlopen(path, RTLD_NOW | RTLD_NOLOAD) ? "still there" : "gone");
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	alarm(120);
	if (!strcmp(what, "overflow"))
		return overflow();
	if (!strcmp(what, "keys"))
		return keys();
	if (!strcmp(what, "bounds"))
		return bounds();
	if (!strcmp(what, "altstack"))
		return alternate();
	if (!strcmp(what, "spawn"))
		return spawn();
	if (!strcmp(what, "locked"))
		return locked();
	if (!strcmp(what, "late") && argc > 2)
		return late(argv[2]);
	return 2;
}
