/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that owns every child it sees: starts one after the other and waits with wait(-1) and
 * waitpid(-1, WNOHANG); between them nothing may be waited for. Prints "ready"; on a line of input the
 * number of its children, of SIGCHLDs and of surprises; ends with its input. "l" in a line lets its user
 * have one process only, "f" as many as may be.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_int signals, surprises, children;

static void on_child(int sig)
{
	signals++;
}

/* Something for the symbolizer to find: an inlined function. */
static inline __attribute__((always_inline)) void *inner_alloc(size_t n)
{
	return malloc(n);
}

__attribute__((noinline)) void *outer_alloc(size_t n)
{
	void *p = inner_alloc(n);

	__asm__ volatile("" : "+r"(p));
	return p;
}

static void limit_processes(int on)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NPROC, &limit);
	limit.rlim_cur = on ? 1 : limit.rlim_max;
	setrlimit(RLIMIT_NPROC, &limit);
}

static void *answer(void *arg)
{
	char c;

	while (read(0, &c, 1) == 1) {
		if (c == 'l' || c == 'f')
			limit_processes(c == 'l');
		if (c == '\n') {
			printf("children %d signals %d surprises %d\n", children, signals, surprises);
			fflush(stdout);
		}
	}
	_exit(0);
}

int main(void)
{
	struct sigaction act = { .sa_handler = on_child, .sa_flags = SA_RESTART };
	pthread_t thread;

	alarm(300);
	sigaction(SIGCHLD, &act, NULL);
	for (int i = 0; i < 64; i++)
		outer_alloc(1 << 20);
	pthread_create(&thread, NULL, answer, NULL);
	puts("ready");
	fflush(stdout);
	for (;;) {
		pid_t child, got;
		int status;

		/* nobody is there: neither now nor to be waited for */
		got = waitpid(-1, &status, WNOHANG);
		if (got != -1 || errno != ECHILD)
			surprises++;
		child = fork();
		if (child == 0)
			_exit(7);
		if (child < 0)
			continue;
		do
			got = wait(&status);
		while (got == -1 && errno == EINTR);
		if (got != child || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
			surprises++;
		children++;
		usleep(2000);
	}
}
