/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that end in ways that are hard to see coming, for PPROF_OUTPUT:
 *   ends burn SECONDS [STATUS]     uses that much CPU in burn_here(), keeps 10 MB, waits for a lock
 *   ends raise SECONDS SIGNAL      the same, then raises the signal
 *   ends handler exit|_exit        a signal handler ends it while main is somewhere in malloc or a lock
 *   ends locked exit|_exit         ends while other threads hold stdio's and malloc's neighbours for ever
 *   ends both                      two threads end it at the same time
 *   ends views SIGNAL              what sigaction says of a signal, through all it can be set to
 *   ends exec PROGRAM ARGS...      burns 0.1 s and becomes another program
 *   ends noexec                    an exec that fails, then burns 0.1 s
 *   ends fork SECONDS              a forked child burns, _exits; the parent burns as well
 *   ends wait                      says "ready", waits in pause() for a minute at most
 *   ends busy                      says "ready"; threads allocate and wait for a lock, for an hour at most
 *   ends turns                     for each line of stdin: threads and a child begin, work and end; says "done"
 *   ends handled SIGNAL            has a handler of its own that prints; says "ready", ends by it
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
volatile double sum;
static void *kept[100];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *way;

static double cpu_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static __attribute__((noinline)) void burn_here(double seconds)
{
	double end = cpu_time() + seconds;

	while (cpu_time() < end)
		for (int i = 0; i < 20000; i++)
			sum += i;
}

static void *hold_lock(void *arg)
{
	pthread_mutex_lock(&lock);
	*(volatile int *)arg = 1;
	usleep(30000);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void work(double seconds)
{
	volatile int held = 0;
	pthread_t t;

	for (int i = 0; i < 100; i++) {
		kept[i] = malloc(100000);
		memset(kept[i], 1, 100000);
	}
	pthread_create(&t, NULL, hold_lock, (void *)&held);
	while (!held)
		usleep(100);
	pthread_mutex_lock(&lock);
	pthread_mutex_unlock(&lock);
	pthread_join(t, NULL);
	burn_here(seconds);
}

static void end_by_way(int sig)
{
	if (!strcmp(way, "_exit"))
		_exit(9);
	exit(9);
}

static void handler_ends(void)
{
	struct itimerval soon = { { 0, 0 }, { 0, 1000 + (int)(getpid() * 37 % 4000) } };

	signal(SIGVTALRM, end_by_way);
	alarm(60);
	setitimer(ITIMER_VIRTUAL, &soon, NULL);
	for (size_t i = 0;; i++) {
		free(kept[i % 100]);
		kept[i % 100] = malloc(1 + i % 5000);
		pthread_mutex_lock(&lock);
		pthread_mutex_unlock(&lock);
	}
}

static void *holds_for_ever(void *arg)
{
	pthread_mutex_lock(&lock);
	if (!strcmp(way, "_exit"))
		flockfile(stdout);
	*(volatile int *)arg = 1;
	pause();
	return NULL;
}

static void *ends_too(void *arg)
{
	pthread_barrier_wait(arg);
	_exit(11);
}

static void both_end(void)
{
	pthread_barrier_t barrier;
	pthread_t t;

	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&t, NULL, ends_too, &barrier);
	burn_here(0.05);
	pthread_barrier_wait(&barrier);
	_exit(11);
}

static void print_view(int sig, const char *when)
{
	struct sigaction now;

	sigaction(sig, NULL, &now);
	printf("%s: %s flags %x masked %d\n", when,
	       now.sa_flags & SA_SIGINFO     ? "siginfo"
	       : now.sa_handler == SIG_DFL   ? "default"
	       : now.sa_handler == SIG_IGN   ? "ignored"
	       : now.sa_handler == end_by_way ? "mine"
					     : "strange",
	       (unsigned)now.sa_flags & ~0x04000000u, sigismember(&now.sa_mask, SIGUSR2));
}

static const char *name_of(sighandler_t handler)
{
	return handler == SIG_DFL ? "default" : handler == SIG_IGN ? "ignored" : handler == end_by_way ? "mine" : "strange";
}

static void views(int sig)
{
	struct sigaction act = { .sa_handler = SIG_DFL, .sa_flags = SA_RESTART }, old;

	print_view(sig, "start");
	sigaddset(&act.sa_mask, SIGUSR2);
	sigaction(sig, &act, &old);
	printf("before: %s %x\n", name_of(old.sa_handler), (unsigned)old.sa_flags & ~0x04000000u);
	print_view(sig, "default with flags");
	printf("signal: %s\n", name_of(signal(sig, end_by_way)));
	print_view(sig, "handler");
	printf("signal: %s\n", name_of(signal(sig, SIG_IGN)));
	print_view(sig, "ignored");
	printf("signal: %s\n", name_of(signal(sig, SIG_DFL)));
	print_view(sig, "default again");
	if (fork() == 0) {
		print_view(sig, "child");
		exit(0);
	}
	wait(NULL);
	fflush(stdout);
	kill(getpid(), sig);
	pause();
}

static void *allocates_and_waits(void *arg)
{
	void *ring[64] = { NULL };

	for (size_t i = 0;; i++) {
		pthread_mutex_lock(&lock);
		free(ring[i % 64]);
		ring[i % 64] = malloc(20000);
		usleep(300);
		burn_here(0.0001);
		pthread_mutex_unlock(&lock);
		usleep(10);
	}
	return arg;
}

static void busy(void)
{
	pthread_t t;

	for (int i = 0; i < 3; i++)
		pthread_create(&t, NULL, allocates_and_waits, NULL);
	printf("ready\n");
	fflush(stdout);
	alarm(3600);
	for (;;)
		pause();
}

static void *short_life(void *arg)
{
	void *blocks[8];

	for (int i = 0; i < 8; i++)
		blocks[i] = malloc(70000);
	pthread_mutex_lock(&lock);
	burn_here(0.0005);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < 8; i++)
		free(blocks[i]);
	return arg;
}

static int two_threads(void)
{
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		if (pthread_create(&t[i], NULL, short_life, NULL) != 0)
			return 1;
	for (int i = 0; i < 2; i++)
		if (pthread_join(t[i], NULL) != 0)
			return 2;
	return 0;
}

static int turn(void)
{
	int status = two_threads();
	pid_t child;

	if (status)
		return status;
	child = fork();
	if (child == 0)
		_exit(10 + two_threads());
	if (child < 0 || waitpid(child, &status, 0) != child)
		return 3;
	return WIFEXITED(status) && WEXITSTATUS(status) == 10 ? 0 : 4;
}

static void turns(void)
{
	char line[16];

	alarm(600);
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		int bad = turn();

		printf(bad ? "bad %d\n" : "done\n", bad);
		fflush(stdout);
	}
}

static void says(int sig)
{
	static const char text[] = "handled\n";

	_exit(write(1, text, sizeof(text) - 1) < 0);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	const char *arg = argc > 2 ? argv[2] : "";
	volatile int held = 0;
	pthread_t t;

	way = arg;
	if (!strcmp(what, "burn")) {
		work(atof(arg));
		printf("unflushed");
		return argc > 3 ? atoi(argv[3]) : 0;
	}
	if (!strcmp(what, "raise")) {
		work(atof(arg));
		raise(atoi(argv[3]));
	}
	if (!strcmp(what, "handler"))
		handler_ends();
	if (!strcmp(what, "locked")) {
		pthread_create(&t, NULL, holds_for_ever, (void *)&held);
		while (!held)
			usleep(100);
		burn_here(0.03);
		end_by_way(0);
	}
	if (!strcmp(what, "both"))
		both_end();
	if (!strcmp(what, "turns"))
		turns();
	if (!strcmp(what, "busy"))
		busy();
	if (!strcmp(what, "views"))
		views(atoi(arg));
	if (!strcmp(what, "exec")) {
		burn_here(0.1);
		execvp(argv[2], argv + 2);
		return 98;
	}
	if (!strcmp(what, "noexec")) {
		burn_here(0.1);
		execl("/nonexistent/program", "x", "a", "b", "c", "d", "e", "f", "g", (char *)NULL);
		burn_here(0.1);
		return 5;
	}
	if (!strcmp(what, "fork")) {
		if (fork() == 0) {
			burn_here(atof(arg));
			_exit(0);
		}
		burn_here(atof(arg) / 2);
		wait(NULL);
	}
	if (!strcmp(what, "wait") || !strcmp(what, "handled")) {
		if (what[0] == 'h')
			signal(atoi(arg), says);
		burn_here(0.05);
		printf("ready\n");
		fflush(stdout);
		alarm(60);
		for (;;)
			pause();
	}
	return 0;
}
