/* SPDX-License-Identifier: Apache-2.0 */
/*
 * torture LIBRARY STRIDE ROUNDS: a program with the library preloaded, one thread of which is made to take single
 * steps through malloc, free, locks, the start of a thread and whatever handler comes, while at every STRIDE-th
 * step another thread forks: the child must be able to allocate, lock and start a thread, whatever the stepped
 * thread was in the middle of. Prints "STEPS FORKS SIGNALS", or what went wrong.
 *
 * A fork that waits for a lock of libc's which the stepped thread holds is let wait: the steps go on.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct shared {
	_Atomic unsigned asked, done; /* forks */
	_Atomic int status;	      /* of the last child */
	_Atomic int round;	      /* of the stepped thread; -1: it has ended */
};

static struct shared *shared;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void pause_ns(long ns)
{
	struct timespec t = { 0, ns };

	syscall(SYS_nanosleep, &t, NULL);
}

static void *nothing(void *arg)
{
	free(malloc(300));
	return arg;
}

/* What a child does that lives on. */
static void live_on(void)
{
	pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER;
	void *blocks[50];
	pthread_t thread;

	alarm(10);
	for (size_t i = 0; i < 50; i++)
		blocks[i] = malloc(i * 40 + 1);
	for (int i = 0; i < 50; i++)
		free(blocks[i]);
	pthread_mutex_lock(&own);
	pthread_mutex_unlock(&own);
	if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
		_exit(5);
	_exit(0);
}

static void *forks(void *arg)
{
	for (;;) {
		int status = -1;
		pid_t child;

		while (atomic_load(&shared->asked) == atomic_load(&shared->done)) {
			if (atomic_load(&shared->round) < 0)
				return NULL;
			pause_ns(20000);
		}
		child = fork();
		if (child == 0)
			live_on();
		if (child < 0 || waitpid(child, &status, 0) != child)
			status = -1;
		atomic_store(&shared->status, status);
		atomic_fetch_add(&shared->done, 1);
	}
	return arg;
}

static int stepped(int rounds)
{
	pthread_t forker, other;

	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	if (pthread_create(&forker, NULL, forks, NULL) != 0)
		return 3;
	pause_ns(300000000);
	syscall(SYS_tgkill, getpid(), (int)syscall(SYS_gettid), SIGSTOP);
	for (int i = 1; i <= rounds; i++) {
		void *volatile block;

		atomic_store(&shared->round, i);
		block = malloc(1000);
		block = realloc(block, 5000);
		free(block);
		pthread_mutex_lock(&mutex);
		pthread_mutex_unlock(&mutex);
		if (i % 4 == 0 && (pthread_create(&other, NULL, nothing, NULL) != 0 || pthread_join(other, NULL) != 0))
			return 4;
	}
	atomic_store(&shared->round, -1);
	pthread_join(forker, NULL);
	return 0;
}

/* Steps the process to its end. */
static int step(pid_t pid, unsigned long stride)
{
	unsigned long steps = 0, forked = 0, signals = 0, waited = 0;
	int status, sig = 0;

	for (;;) {
		bool stepping = atomic_load(&shared->round) >= 0;

		if (ptrace(stepping ? PTRACE_SINGLESTEP : PTRACE_CONT, pid, NULL, (void *)(long)sig) != 0 ||
		    waitpid(pid, &status, __WALL) != pid)
			return printf("lost it: %s\n", strerror(errno)), 1;
		if (WIFEXITED(status) || WIFSIGNALED(status))
			break;
		sig = WSTOPSIG(status);
		if (sig == SIGTRAP || sig == SIGSTOP)
			sig = 0;
		signals += sig != 0;
		if (!stepping)
			continue;
		steps++;
		if (atomic_load(&shared->asked) != atomic_load(&shared->done)) {
			if (++waited > 2000000)
				return printf("a fork waits for ever, after %lu steps and %lu forks\n", steps, forked), 1;
			continue;
		}
		if (forked && atomic_load(&shared->status) != 0)
			return printf("child %lu, at step %lu, ended with status %x\n", forked, steps, atomic_load(&shared->status)), 1;
		waited = 0;
		if (steps % stride)
			continue;
		forked++;
		atomic_fetch_add(&shared->asked, 1);
		for (int i = 0; i < 500 && atomic_load(&shared->asked) != atomic_load(&shared->done); i++)
			pause_ns(100000);
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return printf("the program ended with status %x after %lu steps\n", status, steps), 1;
	printf("%lu %lu %lu\n", steps, forked, signals);
	return 0;
}

int main(int argc, char **argv)
{
	char number[16];
	pid_t pid;

	if (argc == 4 && !strcmp(argv[1], "stepped")) {
		shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[3]), 0);
		return shared == MAP_FAILED ? 6 : stepped(atoi(argv[2]));
	}
	if (argc == 4) {
		int fd = (int)syscall(SYS_memfd_create, "torture", 0);

		if (fd < 0 || ftruncate(fd, 4096) != 0)
			return 6;
		shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		snprintf(number, sizeof(number), "%d", fd);
		pid = fork();
		if (pid == 0) {
			setenv("LD_PRELOAD", argv[1], 1);
			execl("/proc/self/exe", argv[0], "stepped", argv[3], number, (char *)NULL);
			_exit(127);
		}
		/* it stops itself when all is made */
		if (waitpid(pid, NULL, __WALL | WUNTRACED) != pid)
			return 7;
		return step(pid, strtoul(argv[2], NULL, 10));
	}
	return 2;
}
