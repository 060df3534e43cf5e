/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways to wait that waits.c knows: for each function that waits what it waits for, who keeps it, and how
 * it is let go. Only for waits.c.
 */
#ifndef PROGRAMS_WAITS_WAYS_H
#define PROGRAMS_WAITS_WAYS_H

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

enum { WAITERS_MAX = 256 };

/* Past libc: the agent does not see it. */
static long raw_futex(_Atomic int *word, int op, int value)
{
	register long r10 __asm__("r10") = 0;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"((long)SYS_futex), "D"(word), "S"((long)op), "d"((long)value), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

static void set_and_wake(_Atomic int *word, int value)
{
	atomic_store(word, value);
	raw_futex(word, FUTEX_WAKE_PRIVATE, INT_MAX);
}

static void wait_while(_Atomic int *word, int value)
{
	while (atomic_load(word) == value)
		raw_futex(word, FUTEX_WAIT_PRIVATE, value);
}

static const struct timespec *in_a_minute(clockid_t clock)
{
	static _Thread_local struct timespec ts;

	clock_gettime(clock, &ts);
	ts.tv_sec += 60;
	return &ts;
}

static void must(int err)
{
	if (err) {
		fprintf(stderr, "waits: %s\n", strerror(err));
		_exit(2);
	}
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_spinlock_t spin;
static sem_t sem;
static mtx_t mtx;
static cnd_t cnd;
static _Atomic int word;
static pthread_t sleepers[WAITERS_MAX];
static thrd_t c11_sleepers[WAITERS_MAX];
static _Atomic int release_sleepers;
static int waiters, in_cond, generation;

static NOINLINE void hold_mutex(void) { must(pthread_mutex_lock(&mutex)); }
static NOINLINE void release_mutex(void) { must(pthread_mutex_unlock(&mutex)); }
static void wait_lock(int i) { must(pthread_mutex_lock(&mutex)); }
static void wait_timedlock(int i) { must(pthread_mutex_timedlock(&mutex, in_a_minute(CLOCK_REALTIME))); }
static void wait_clocklock(int i)
{
	must(pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, in_a_minute(CLOCK_MONOTONIC)));
}
static void leave_mutex(int i) { must(pthread_mutex_unlock(&mutex)); }

static void make_mutex(int type, int robust, int protocol)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	must(pthread_mutexattr_settype(&attr, type));
	must(pthread_mutexattr_setrobust(&attr, robust));
	must(pthread_mutexattr_setprotocol(&attr, protocol));
	must(pthread_mutex_init(&mutex, &attr));
}
static void make_recursive(void) { make_mutex(PTHREAD_MUTEX_RECURSIVE, 0, 0); }
static void make_errorcheck(void) { make_mutex(PTHREAD_MUTEX_ERRORCHECK, 0, 0); }
static void make_adaptive(void) { make_mutex(PTHREAD_MUTEX_ADAPTIVE_NP, 0, 0); }
static void make_robust(void) { make_mutex(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, 0); }
static void make_inherit(void) { make_mutex(PTHREAD_MUTEX_NORMAL, 0, PTHREAD_PRIO_INHERIT); }

/* Inner locks and unlocks must neither count as waits nor close anything. */
static NOINLINE void hold_recursive(void)
{
	hold_mutex();
	must(pthread_mutex_lock(&mutex));
}
static NOINLINE void inner_unlock(void)
{
	must(pthread_mutex_unlock(&mutex));
	__asm__ volatile("" ::: "memory"); /* not the twin of release_mutex */
}
static NOINLINE void release_recursive(void)
{
	inner_unlock();
	release_mutex();
}

static NOINLINE void hold_write(void) { must(pthread_rwlock_wrlock(&rwlock)); }
static NOINLINE void hold_read(void) { must(pthread_rwlock_rdlock(&rwlock)); }
static NOINLINE void release_rwlock(void) { must(pthread_rwlock_unlock(&rwlock)); }
static void wait_rdlock(int i) { must(pthread_rwlock_rdlock(&rwlock)); }
static void wait_wrlock(int i) { must(pthread_rwlock_wrlock(&rwlock)); }
static void wait_timedrdlock(int i)
{
	must(pthread_rwlock_timedrdlock(&rwlock, in_a_minute(CLOCK_REALTIME)));
}
static void wait_timedwrlock(int i)
{
	must(pthread_rwlock_timedwrlock(&rwlock, in_a_minute(CLOCK_REALTIME)));
}
static void wait_clockrdlock(int i)
{
	must(pthread_rwlock_clockrdlock(&rwlock, CLOCK_MONOTONIC, in_a_minute(CLOCK_MONOTONIC)));
}
static void wait_clockwrlock(int i)
{
	must(pthread_rwlock_clockwrlock(&rwlock, CLOCK_MONOTONIC, in_a_minute(CLOCK_MONOTONIC)));
}
static void leave_rwlock(int i) { must(pthread_rwlock_unlock(&rwlock)); }

static void make_spin(void) { must(pthread_spin_init(&spin, 0)); }
static NOINLINE void hold_spin(void) { must(pthread_spin_lock(&spin)); }
static NOINLINE void release_spin(void) { must(pthread_spin_unlock(&spin)); }
static void wait_spin(int i) { must(pthread_spin_lock(&spin)); }
static void leave_spin(int i) { must(pthread_spin_unlock(&spin)); }

static void make_mtx(void) { must(mtx_init(&mtx, mtx_timed) != thrd_success); }
static NOINLINE void hold_mtx(void) { must(mtx_lock(&mtx) != thrd_success); }
static NOINLINE void release_mtx(void) { must(mtx_unlock(&mtx) != thrd_success); }
static void wait_mtx(int i) { must(mtx_lock(&mtx) != thrd_success); }
static void wait_mtx_timed(int i) { must(mtx_timedlock(&mtx, in_a_minute(CLOCK_REALTIME)) != thrd_success); }
static void leave_mtx(int i) { must(mtx_unlock(&mtx) != thrd_success); }

/* The three-state lock of Drepper's paper, through libc's syscall() as Rust's library does it. */
static NOINLINE void hold_futex(void) { atomic_store(&word, 1); }
static NOINLINE void release_futex(void)
{
	if (atomic_exchange(&word, 0) == 2)
		syscall(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
}
static void wait_futex(int i)
{
	while (atomic_exchange(&word, 2) != 0)
		syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 2, NULL, NULL, -1);
}
static void leave_futex(int i) { release_futex(); }

/* An event: nobody's fault. */
static void hold_event(void) { atomic_store(&word, 7); }
static void release_event(void)
{
	atomic_store(&word, 8);
	syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX);
}
static void wait_event(int i)
{
	while (atomic_load(&word) == 7)
		syscall(SYS_futex, &word, FUTEX_WAIT, 7, NULL);
}

static void release_cond(void)
{
	while (pthread_mutex_lock(&mutex) == 0 && in_cond < waiters) {
		pthread_mutex_unlock(&mutex);
		usleep(100);
	}
	in_cond = 0;
	generation++;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
}
static void enter_cond(int i)
{
	hold_mutex();
	in_cond++;
}
static void wait_cond(int i)
{
	int g = generation;

	while (g == generation)
		must(pthread_cond_wait(&cond, &mutex));
}
static void wait_cond_timed(int i)
{
	int g = generation;

	while (g == generation)
		must(pthread_cond_timedwait(&cond, &mutex, in_a_minute(CLOCK_REALTIME)));
}
static void wait_cond_clock(int i)
{
	int g = generation;

	while (g == generation)
		must(pthread_cond_clockwait(&cond, &mutex, CLOCK_MONOTONIC, in_a_minute(CLOCK_MONOTONIC)));
}

static void make_cnd(void)
{
	make_mtx();
	must(cnd_init(&cnd) != thrd_success);
}
static void release_cnd(void)
{
	while (mtx_lock(&mtx) == thrd_success && in_cond < waiters) {
		mtx_unlock(&mtx);
		usleep(100);
	}
	in_cond = 0;
	generation++;
	cnd_broadcast(&cnd);
	mtx_unlock(&mtx);
}
static void enter_cnd(int i)
{
	hold_mtx();
	in_cond++;
}
static void wait_cnd(int i)
{
	int g = generation;

	while (g == generation)
		must(cnd_wait(&cnd, &mtx) != thrd_success);
}
static void wait_cnd_timed(int i)
{
	int g = generation;

	while (g == generation)
		must(cnd_timedwait(&cnd, &mtx, in_a_minute(CLOCK_REALTIME)) != thrd_success);
}

static void make_sem(void) { must(sem_init(&sem, 0, 0)); }
static void release_sem(void)
{
	for (int i = 0; i < waiters; i++)
		must(sem_post(&sem));
}
static void wait_sem(int i) { must(sem_wait(&sem)); }
static void wait_sem_timed(int i) { must(sem_timedwait(&sem, in_a_minute(CLOCK_REALTIME))); }
static void wait_sem_clock(int i)
{
	must(sem_clockwait(&sem, CLOCK_MONOTONIC, in_a_minute(CLOCK_MONOTONIC)));
}

static void make_barrier(void) { must(pthread_barrier_init(&barrier, NULL, (unsigned)waiters + 1)); }
static void release_barrier(void) { pthread_barrier_wait(&barrier); }
static void wait_barrier(int i) { pthread_barrier_wait(&barrier); }

static void *sleeper(void *arg)
{
	wait_while(&release_sleepers, 0);
	return NULL;
}
static int c11_sleeper(void *arg)
{
	wait_while(&release_sleepers, 0);
	return 0;
}
static void hold_sleepers(void)
{
	atomic_store(&release_sleepers, 0);
	for (int i = 0; i < waiters; i++)
		must(pthread_create(&sleepers[i], NULL, sleeper, NULL));
}
static void hold_c11_sleepers(void)
{
	atomic_store(&release_sleepers, 0);
	for (int i = 0; i < waiters; i++)
		must(thrd_create(&c11_sleepers[i], c11_sleeper, NULL) != thrd_success);
}
static void wake_sleepers(void) { set_and_wake(&release_sleepers, 1); }
static void wait_join(int i) { must(pthread_join(sleepers[i], NULL)); }
static void wait_join_timed(int i)
{
	must(pthread_timedjoin_np(sleepers[i], NULL, in_a_minute(CLOCK_REALTIME)));
}
static void wait_join_clock(int i)
{
	must(pthread_clockjoin_np(sleepers[i], NULL, CLOCK_MONOTONIC, in_a_minute(CLOCK_MONOTONIC)));
}
static void wait_join_c11(int i) { must(thrd_join(c11_sleepers[i], NULL) != thrd_success); }

static const struct way {
	const char *name;
	void (*make)(void);
	void (*hold)(void);
	void (*before)(int i); /* by the waiter, not measured */
	void (*wait)(int i);
	void (*after)(int i);
	void (*release)(void);
} ways[] = {
	{ "pthread_mutex_lock", NULL, hold_mutex, NULL, wait_lock, leave_mutex, release_mutex },
	{ "pthread_mutex_timedlock", NULL, hold_mutex, NULL, wait_timedlock, leave_mutex, release_mutex },
	{ "pthread_mutex_clocklock", NULL, hold_mutex, NULL, wait_clocklock, leave_mutex, release_mutex },
	{ "recursive", make_recursive, hold_recursive, NULL, wait_lock, leave_mutex, release_recursive },
	{ "errorcheck", make_errorcheck, hold_mutex, NULL, wait_lock, leave_mutex, release_mutex },
	{ "adaptive", make_adaptive, hold_mutex, NULL, wait_lock, leave_mutex, release_mutex },
	{ "robust", make_robust, hold_mutex, NULL, wait_lock, leave_mutex, release_mutex },
	{ "inherit", make_inherit, hold_mutex, NULL, wait_lock, leave_mutex, release_mutex },
	{ "pthread_rwlock_rdlock", NULL, hold_write, NULL, wait_rdlock, leave_rwlock, release_rwlock },
	{ "pthread_rwlock_wrlock", NULL, hold_write, NULL, wait_wrlock, leave_rwlock, release_rwlock },
	{ "wrlock_by_reader", NULL, hold_read, NULL, wait_wrlock, leave_rwlock, release_rwlock },
	{ "pthread_rwlock_timedrdlock", NULL, hold_write, NULL, wait_timedrdlock, leave_rwlock, release_rwlock },
	{ "pthread_rwlock_timedwrlock", NULL, hold_write, NULL, wait_timedwrlock, leave_rwlock, release_rwlock },
	{ "pthread_rwlock_clockrdlock", NULL, hold_write, NULL, wait_clockrdlock, leave_rwlock, release_rwlock },
	{ "pthread_rwlock_clockwrlock", NULL, hold_write, NULL, wait_clockwrlock, leave_rwlock, release_rwlock },
	{ "pthread_spin_lock", make_spin, hold_spin, NULL, wait_spin, leave_spin, release_spin },
	{ "mtx_lock", make_mtx, hold_mtx, NULL, wait_mtx, leave_mtx, release_mtx },
	{ "mtx_timedlock", make_mtx, hold_mtx, NULL, wait_mtx_timed, leave_mtx, release_mtx },
	{ "futex_lock", NULL, hold_futex, NULL, wait_futex, leave_futex, release_futex },
	{ "futex_event", NULL, hold_event, NULL, wait_event, NULL, release_event },
	{ "pthread_cond_wait", NULL, NULL, enter_cond, wait_cond, leave_mutex, release_cond },
	{ "pthread_cond_timedwait", NULL, NULL, enter_cond, wait_cond_timed, leave_mutex, release_cond },
	{ "pthread_cond_clockwait", NULL, NULL, enter_cond, wait_cond_clock, leave_mutex, release_cond },
	{ "cnd_wait", make_cnd, NULL, enter_cnd, wait_cnd, leave_mtx, release_cnd },
	{ "cnd_timedwait", make_cnd, NULL, enter_cnd, wait_cnd_timed, leave_mtx, release_cnd },
	{ "sem_wait", make_sem, NULL, NULL, wait_sem, NULL, release_sem },
	{ "sem_timedwait", make_sem, NULL, NULL, wait_sem_timed, NULL, release_sem },
	{ "sem_clockwait", make_sem, NULL, NULL, wait_sem_clock, NULL, release_sem },
	{ "pthread_barrier_wait", make_barrier, NULL, NULL, wait_barrier, NULL, release_barrier },
	{ "pthread_join", NULL, hold_sleepers, NULL, wait_join, NULL, wake_sleepers },
	{ "pthread_timedjoin_np", NULL, hold_sleepers, NULL, wait_join_timed, NULL, wake_sleepers },
	{ "pthread_clockjoin_np", NULL, hold_sleepers, NULL, wait_join_clock, NULL, wake_sleepers },
	{ "thrd_join", NULL, hold_c11_sleepers, NULL, wait_join_c11, NULL, wake_sleepers },
};

#endif
