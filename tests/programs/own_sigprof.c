/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that use SIGPROF, or take signals out of the queue, themselves. One kind as argument:
 *   itimer        setitimer(ITIMER_PROF) of 10 ms with a handler, on and off by the lines "on" and "off"
 *   wants         the same timer, but all threads block the signal and one waits for it with sigwait
 *   sigtimedwait  a thread computes; behind the line "take" it blocks everything, computes, takes whatever signal
 *                 there is, unblocks everything, and so on
 *   signalfd      the same with a signalfd for every signal
 *   deaf          a thread that blocks every signal computes
 * Prints "ready"; answers each line with "<line> <own signals> <foreign ones> <CPU time in ms>"; ends with
 * its standard input. Foreign is what nobody sent: a sample of the agent's.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { PERIOD_US = 10000 };

static _Atomic unsigned own, foreign;
static _Atomic int by_descriptor, take;
static volatile uint64_t sink;

static __attribute__((noinline)) void compute(int ms)
{
	struct timespec now, start;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
	do {
		for (int i = 0; i < 20000; i++)
			sink = sink * 6364136223846793005u + 1;
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < ms);
}

static void *compute_for_ever(void *arg)
{
	for (;;)
		compute(100);
	return arg;
}

static void on_own(int sig, siginfo_t *info, void *context)
{
	if (sig == SIGPROF && info->si_code == SI_KERNEL)
		own++;
	else
		foreign++;
}

static void timer(int on)
{
	struct itimerval every = { { 0, on ? PERIOD_US : 0 }, { 0, on ? PERIOD_US : 0 } };

	setitimer(ITIMER_PROF, &every, NULL);
}

static void handle(int on)
{
	struct sigaction act = { .sa_flags = SA_SIGINFO | SA_RESTART }, old;

	act.sa_sigaction = on_own;
	if (sigaction(SIGPROF, &act, NULL) != 0 || sigaction(SIGPROF, NULL, &old) != 0 ||
	    old.sa_sigaction != on_own)
		exit(3);
	timer(on);
}

static void block_all(void)
{
	sigset_t all;

	sigfillset(&all);
	sigdelset(&all, SIGTERM); /* so that a test can end it */
	sigdelset(&all, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
}

static void *wait_for_it(void *arg)
{
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGPROF);
	for (;;)
		if (sigwait(&set, &sig) == 0)
			sig == SIGPROF ? own++ : foreign++;
	return arg;
}

static void note(int sig)
{
	sig == SIGUSR1 ? own++ : foreign++;
}

/* What the agent armed while the signal was open falls due while it is blocked. */
static void *take_any(void *arg)
{
	const struct timespec now = { 0, 0 };
	struct signalfd_siginfo record;
	sigset_t all, none;
	siginfo_t info;
	int fd;

	sigfillset(&all);
	sigemptyset(&none);
	for (;;) {
		pthread_sigmask(SIG_SETMASK, &none, NULL);
		do
			compute(1);
		while (!take);
		pthread_sigmask(SIG_SETMASK, &all, NULL);
		compute(20);
		/* one of its own, to see that those arrive */
		pthread_kill(pthread_self(), SIGUSR1);
		if (by_descriptor) {
			fd = signalfd(-1, &all, SFD_NONBLOCK);
			while (read(fd, &record, sizeof(record)) == sizeof(record))
				note((int)record.ssi_signo);
			close(fd);
		} else {
			while (sigtimedwait(&all, &info, &now) > 0)
				note(info.si_signo);
		}
	}
	return arg;
}

static unsigned cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (unsigned)(t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

int main(int argc, char **argv)
{
	const char *kind = argc > 1 ? argv[1] : "";
	void *(*run)(void *) = compute_for_ever;
	pthread_t thread;
	sigset_t none;
	char line[64];

	alarm(120);
	by_descriptor = strcmp(kind, "signalfd") == 0;
	if (by_descriptor || strcmp(kind, "sigtimedwait") == 0) {
		signal(SIGUSR1, SIG_IGN); /* a pending one at the end must not kill */
		run = take_any;
	} else if (strcmp(kind, "deaf") == 0) {
		block_all(); /* inherited: deaf from its first instruction */
	} else if (strcmp(kind, "wants") == 0) {
		block_all();
		pthread_create(&thread, NULL, wait_for_it, NULL);
	}
	pthread_create(&thread, NULL, run, NULL);
	if (strcmp(kind, "deaf") == 0) {
		sigemptyset(&none);
		pthread_sigmask(SIG_SETMASK, &none, NULL);
	}
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (strcmp(line, "on") == 0 && strcmp(kind, "wants") == 0)
			timer(1);
		else if (strcmp(line, "on") == 0)
			handle(1);
		else if (strcmp(line, "off") == 0)
			timer(0);
		else if (strcmp(line, "take") == 0)
			take = 1;
		printf("%s %u %u %u\n", line, (unsigned)own, (unsigned)foreign, cpu_ms());
		fflush(stdout);
	}
	return 0;
}
