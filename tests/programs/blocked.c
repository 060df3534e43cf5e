/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that wait, one kind a word of the command line: abba, chain, self, orphan (a mutex whose owner
 * has ended), churn (makes short threads all the time), timed, robust, pi, rwlock, cond, sem, join, barrier, stdio, poll, read, sleep, spin, deaf (spins with all signals blocked), deafsleep, names,
 * clone (made by clone itself, with the parent's TLS), mainend (main ends first). Prints "ready" and,
 * for each thread, "<what> <tid>"; ends when its standard input does.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

static _Atomic int ready;
static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t robust, pi;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t cond_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier, both;
static sem_t sem;
static FILE *file;

/* Without stdio: its locks may be the ones that are held. */
static void say(const char *what)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "%s %d\n", what, (int)gettid());

	if (write(1, line, (size_t)n) != n)
		abort();
	ready++;
}

static void *abba_first(void *arg)
{
	pthread_mutex_lock(&a);
	pthread_barrier_wait(&both);
	say("abba_first");
	pthread_mutex_lock(&b);
	return NULL;
}

static void *abba_second(void *arg)
{
	pthread_mutex_lock(&b);
	pthread_barrier_wait(&both);
	say("abba_second");
	pthread_mutex_lock(&a);
	return NULL;
}

static void *chain(void *arg)
{
	say("chain");
	pthread_mutex_lock(&a);
	return NULL;
}

static void *self_lock(void *arg)
{
	pthread_mutex_t mine = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&mine);
	say("self");
	pthread_mutex_lock(&mine);
	return NULL;
}

static void *lock_and_end(void *mutex)
{
	pthread_mutex_lock(mutex);
	return NULL;
}

static void *orphan(void *arg)
{
	say("orphan");
	pthread_mutex_lock(&held);
	return NULL;
}

static void *wait_robust(void *arg)
{
	say("robust");
	pthread_mutex_lock(&robust);
	return NULL;
}

static void *wait_pi(void *arg)
{
	say("pi");
	pthread_mutex_lock(&pi);
	return NULL;
}

static void *wait_rwlock(void *arg)
{
	say("rwlock");
	pthread_rwlock_rdlock(&rwlock);
	return NULL;
}

static void *wait_cond(void *arg)
{
	pthread_mutex_lock(&cond_mutex);
	say("cond");
	pthread_cond_wait(&cond, &cond_mutex);
	return NULL;
}

static void *wait_sem(void *arg)
{
	say("sem");
	sem_wait(&sem);
	return NULL;
}

static void *wait_barrier(void *arg)
{
	say("barrier");
	pthread_barrier_wait(&barrier);
	return NULL;
}

static void *sleep_on(void *arg)
{
	say("sleep");
	for (;;)
		sleep(1000);
	return NULL;
}

static void *wait_join(void *arg)
{
	pthread_t other;

	pthread_create(&other, NULL, sleep_on, NULL);
	say("join");
	pthread_join(other, NULL);
	return NULL;
}

static void *timed(void *arg)
{
	struct timespec when = { time(NULL) + 100000, 0 };

	say("timed");
	pthread_mutex_timedlock(&a, &when);
	return NULL;
}

static void *keep_file(void *arg)
{
	flockfile(file);
	say("keeper");
	poll(NULL, 0, -1);
	return NULL;
}

static void *wait_stdio(void *arg)
{
	say("stdio");
	fputc('x', file);
	return NULL;
}

static NOINLINE void *poll_on(void *arg)
{
	say("poll");
	poll(NULL, 0, -1);
	return NULL;
}

static NOINLINE void *read_on(void *arg)
{
	int fds[2];
	char c;

	if (pipe(fds) != 0)
		abort();
	say("read");
	if (read(fds[0], &c, 1) != 1)
		abort();
	return NULL;
}

static void *nothing(void *arg)
{
	return NULL;
}

static void *churn(void *arg)
{
	pthread_t some[8];

	say("churn");
	for (;;) {
		for (int i = 0; i < 8; i++)
			if (pthread_create(&some[i], NULL, nothing, NULL) != 0)
				abort();
		for (int i = 0; i < 8; i++)
			pthread_join(some[i], NULL);
	}
	return NULL;
}

static volatile unsigned long sink;

static NOINLINE void spin_here(void)
{
	for (;;)
		sink += 1;
}

static void *spin(void *arg)
{
	say("spin");
	spin_here();
	return NULL;
}

static void *deaf(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	say("deaf");
	spin_here();
	return NULL;
}

static void *deafsleep(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	say("deafsleep");
	poll(NULL, 0, -1);
	return NULL;
}

static void *named(void *name)
{
	prctl(PR_SET_NAME, name);
	say("named");
	poll(NULL, 0, -1);
	return NULL;
}

static NOINLINE int in_clone(void *arg)
{
	char line[64] = "clone ";
	int tid = (int)syscall(SYS_gettid), n = 6;

	for (int k = 1000000; k; k /= 10)
		if (tid >= k)
			line[n++] = (char)('0' + tid / k % 10);
	line[n++] = '\n';
	syscall(SYS_write, 1, line, n);
	ready++;
	syscall(SYS_poll, NULL, 0, -1);
	return 0;
}

static NOINLINE int spin_in_clone(void *arg)
{
	ready++;
	spin_here();
	return 0;
}

static void raw_clone(int (*function)(void *))
{
	int before = ready;
	char *stack = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (clone(function, stack + (1 << 16),
		  CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
		  NULL) < 0)
		abort();
	while (ready == before)
		usleep(100);
}

static void start(void *(*routine)(void *), void *arg)
{
	int before = ready;
	pthread_t thread;

	if (pthread_create(&thread, NULL, routine, arg) != 0)
		abort();
	while (ready == before)
		usleep(100);
}

static void run_and_join(void *(*routine)(void *), void *arg)
{
	pthread_t thread;

	pthread_create(&thread, NULL, routine, arg);
	pthread_join(thread, NULL);
}

static void make_locks(void)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attr);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(&pi, &attr);
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_barrier_init(&both, NULL, 2);
	sem_init(&sem, 0, 0);
}

static void begin(const char *what)
{
	static const struct {
		const char *name;
		void *(*routine)(void *);
	} plain[] = {
		{ "chain", chain },   { "self", self_lock },   { "rwlock", wait_rwlock },
		{ "cond", wait_cond }, { "sem", wait_sem },    { "barrier", wait_barrier },
		{ "join", wait_join }, { "poll", poll_on },    { "read", read_on },
		{ "sleep", sleep_on }, { "spin", spin },       { "deaf", deaf },
		{ "deafsleep", deafsleep }, { "timed", timed }, { "robust", wait_robust },
		{ "pi", wait_pi },	    { "churn", churn },
	};

	int before = ready;

	if (!strcmp(what, "robust"))
		pthread_mutex_lock(&robust);
	if (!strcmp(what, "pi"))
		pthread_mutex_lock(&pi);
	if (!strcmp(what, "rwlock"))
		pthread_rwlock_wrlock(&rwlock);
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (!strcmp(plain[i].name, what))
			start(plain[i].routine, NULL);
	/* it makes one more, and both speak */
	while (!strcmp(what, "join") && ready < before + 2)
		usleep(100);
	if (!strcmp(what, "abba")) {
		pthread_t thread;

		pthread_create(&thread, NULL, abba_first, NULL);
		pthread_create(&thread, NULL, abba_second, NULL);
		while (ready < 2)
			usleep(100);
	} else if (!strcmp(what, "orphan")) {
		run_and_join(lock_and_end, &held);
		start(orphan, NULL);
	} else if (!strcmp(what, "stdio")) {
		file = tmpfile();
		start(keep_file, NULL);
		start(wait_stdio, NULL);
	} else if (!strcmp(what, "names")) {
		start(named, "plain name");
		start(named, "n\nl\\b\"q");
		start(named, "\xff\xfe\x01x");
		start(named, "gr\xc3\xbc\xc3\x9f" "e");
	} else if (!strcmp(what, "clone")) {
		raw_clone(in_clone);
	} else if (!strcmp(what, "spinclone")) {
		raw_clone(spin_in_clone);
	}
}

static void *until_end(void *arg)
{
	char c;

	while (read(0, &c, 1) > 0)
		;
	_exit(0);
}

int main(int argc, char **argv)
{
	int mainend = 0, many = 0;

	make_locks();
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "mainend"))
			mainend = 1;
		else if (sscanf(argv[i], "many=%d", &many) == 1)
			;
		else
			begin(argv[i]);
	}
	for (int i = 0; i < many; i++) {
		pthread_attr_t attr;
		pthread_t thread;

		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, 64 << 10);
		if (pthread_create(&thread, &attr, poll_on, NULL) != 0)
			abort();
	}
	while (many && ready < many)
		usleep(1000);
	if (write(1, "ready\n", 6) != 6)
		abort();
	if (mainend) {
		pthread_t thread;

		pthread_create(&thread, NULL, until_end, NULL);
		pthread_exit(NULL);
	}
	until_end(NULL);
}
