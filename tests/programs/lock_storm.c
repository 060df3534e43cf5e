/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock_storm SECONDS: threads on all kinds of locks at once, locks whose memory goes with their last
 * unlock, and forks in between whose children must be able to lock, make a thread and end. Prints "done N"
 * with the number of turns when every thread went on to the end and every child ended well.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 12, KINDS = 6 };

static pthread_mutex_t mutexes[KINDS];
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_spinlock_t spin;
static sem_t sem;
static _Atomic int stop;
static _Atomic uint64_t turns[THREADS];
static int inside[KINDS];
static char space[20000 * 64] __attribute__((aligned(64))); /* zeros: mutexes that are free */

static void check(int good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "lock_storm: %s\n", what);
	_exit(3);
}

static const struct timespec *soon(clockid_t clock, long ns)
{
	static _Thread_local struct timespec ts;

	clock_gettime(clock, &ts);
	ts.tv_nsec += ns;
	if (ts.tv_nsec >= 1000000000)
		ts.tv_nsec -= 1000000000, ts.tv_sec++;
	return &ts;
}

static void make_mutexes(void)
{
	static const int types[KINDS] = { PTHREAD_MUTEX_NORMAL,	    PTHREAD_MUTEX_RECURSIVE,
					  PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ADAPTIVE_NP,
					  PTHREAD_MUTEX_NORMAL,	    PTHREAD_MUTEX_NORMAL };

	for (int i = 0; i < KINDS; i++) {
		pthread_mutexattr_t attr;

		pthread_mutexattr_init(&attr);
		pthread_mutexattr_settype(&attr, types[i]);
		if (i == 4)
			pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
		if (i == 5)
			pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
		check(pthread_mutex_init(&mutexes[i], &attr) == 0, "no mutex");
	}
}

/* An object that dies with its last reference, lock and all: often as soon as the last one has waited for the lock. */
struct object {
	pthread_mutex_t lock;
	int references;
};

static void *drops(void *arg)
{
	struct object *o = arg;
	int left;

	pthread_mutex_lock(&o->lock);
	left = --o->references;
	if (left)
		usleep(50);
	pthread_mutex_unlock(&o->lock);
	if (!left)
		munmap(o, 4096);
	return NULL;
}

static void short_lived_object(void)
{
	struct object *o = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t t;

	check(o != MAP_FAILED, "no memory");
	pthread_mutex_init(&o->lock, NULL);
	o->references = 2;
	check(pthread_create(&t, NULL, drops, o) == 0, "no thread");
	drops(o);
	pthread_join(t, NULL);
}

static void one_turn(unsigned random)
{
	unsigned i = random % KINDS;
	int got;

	switch (random >> 8 & 7) {
	case 0:
		got = pthread_mutex_timedlock(&mutexes[i], soon(CLOCK_REALTIME, random >> 4 & 0x7ffff)) == 0;
		break;
	case 1:
		got = pthread_mutex_clocklock(&mutexes[i], CLOCK_MONOTONIC, soon(CLOCK_MONOTONIC, 200000)) == 0;
		break;
	case 2:
		got = 0;
		if (random >> 12 & 1) {
			pthread_rwlock_rdlock(&rwlock);
		} else {
			pthread_rwlock_wrlock(&rwlock);
		}
		pthread_rwlock_unlock(&rwlock);
		break;
	case 3:
		got = 0;
		sem_wait(&sem);
		sem_post(&sem);
		break;
	case 4:
		got = 0;
		pthread_spin_lock(&spin);
		pthread_spin_unlock(&spin);
		break;
	case 5:
		i = 0;
		got = pthread_mutex_lock(&mutexes[0]) == 0;
		inside[0]++;
		check(inside[0] == 1, "two threads in one mutex");
		inside[0]--;
		pthread_cond_timedwait(&cond, &mutexes[0], soon(CLOCK_REALTIME, 100000));
		break;
	case 6:
		got = 0;
		pthread_cond_broadcast(&cond);
		if (!(random >> 12 & 15))
			short_lived_object();
		break;
	default:
		got = pthread_mutex_lock(&mutexes[i]) == 0;
	}
	if (!got)
		return;
	inside[i]++;
	check(inside[i] == 1, "two threads in one mutex");
	if (i == 1) {
		pthread_mutex_lock(&mutexes[1]);
		pthread_mutex_unlock(&mutexes[1]);
	}
	for (volatile unsigned n = random >> 20; n; n--)
		;
	inside[i]--;
	pthread_mutex_unlock(&mutexes[i]);
}

static void *run(void *arg)
{
	int me = (int)(intptr_t)arg;
	unsigned random = (unsigned)me * 2654435761u + 12345;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		random = random * 1664525u + 1013904223u;
		one_turn(random ^ random >> 16);
		atomic_fetch_add_explicit(&turns[me], 1, memory_order_relaxed);
	}
	return NULL;
}

/* whole: fork handlers have run, so that malloc and threads work */
static void child(int whole)
{
	alarm(20);
	/* all slots of any table keyed by addresses: a lock in it may be a thread's that is not here */
	for (int i = 0; i < 20000; i++) {
		pthread_mutex_t *own = (pthread_mutex_t *)(void *)(space + i * 64);

		pthread_mutex_lock(own);
		if (i % 100 == 0)
			check(pthread_mutex_timedlock(own, soon(CLOCK_REALTIME, 1000)) == ETIMEDOUT, "no time-out");
		pthread_mutex_unlock(own);
	}
	if (whole)
		short_lived_object();
	_exit(0);
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	uint64_t total = 0, last[THREADS] = { 0 };
	int seconds = argc > 1 ? atoi(argv[1]) : 3;

	make_mutexes();
	pthread_spin_init(&spin, 0);
	sem_init(&sem, 0, 1);
	for (int i = 0; i < THREADS; i++)
		check(pthread_create(&threads[i], NULL, run, (void *)(intptr_t)i) == 0, "no thread");
	for (int tenth = 0; tenth < seconds * 10; tenth++) {
		pid_t pid = tenth & 1 ? fork() : _Fork();
		int status;

		if (pid == 0)
			child(tenth & 1);
		check(pid > 0 && waitpid(pid, &status, 0) == pid, "no child");
		check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child hangs or died");
		usleep(100000);
		for (int i = 0; tenth % 50 == 49 && i < THREADS; i++) {
			check(turns[i] != last[i], "a thread does not go on");
			last[i] = turns[i];
		}
	}
	atomic_store(&stop, 1);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		total += turns[i];
	}
	printf("done %lu\n", (unsigned long)total);
	fflush(stdout);
	getchar();
	return 0;
}
