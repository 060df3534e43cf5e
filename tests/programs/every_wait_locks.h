/* SPDX-License-Identifier: Apache-2.0 */
/* Part of every_wait.c: waits for other threads, and sleeps. */

/* ---- locks ---- */

WAIT(pthread_mutex_lock, !pthread_mutex_lock(&me->mutex))
WAIT(pthread_mutex_timedlock, !pthread_mutex_timedlock(&me->mutex, REAL))
WAIT(pthread_mutex_clocklock, !pthread_mutex_clocklock(&me->mutex, MONO))
static void hold_mutex(void) { pthread_mutex_init(&me->mutex, NULL), pthread_mutex_lock(&me->mutex); }
static void leave_mutex(void) { pthread_mutex_unlock(&me->mutex); }
WAIT(mtx_lock, mtx_lock(&me->mtx) == thrd_success)
WAIT(mtx_timedlock, mtx_timedlock(&me->mtx, REAL) == thrd_success)
static void hold_mtx(void) { mtx_init(&me->mtx, mtx_timed), mtx_lock(&me->mtx); }
static void leave_mtx(void) { mtx_unlock(&me->mtx); }
WAIT(pthread_rwlock_rdlock, !pthread_rwlock_rdlock(&me->rwlock))
WAIT(pthread_rwlock_wrlock, !pthread_rwlock_wrlock(&me->rwlock))
WAIT(pthread_rwlock_timedrdlock, !pthread_rwlock_timedrdlock(&me->rwlock, REAL))
WAIT(pthread_rwlock_timedwrlock, !pthread_rwlock_timedwrlock(&me->rwlock, REAL))
WAIT(pthread_rwlock_clockrdlock, !pthread_rwlock_clockrdlock(&me->rwlock, MONO))
WAIT(pthread_rwlock_clockwrlock, !pthread_rwlock_clockwrlock(&me->rwlock, MONO))
static void hold_rwlock(void) { pthread_rwlock_init(&me->rwlock, NULL), pthread_rwlock_wrlock(&me->rwlock); }
static void leave_rwlock(void) { pthread_rwlock_unlock(&me->rwlock); }
WAIT(pthread_spin_lock, !pthread_spin_lock(&me->spin))
static void hold_spin(void) { pthread_spin_init(&me->spin, 0), pthread_spin_lock(&me->spin); }
static void leave_spin(void) { pthread_spin_unlock(&me->spin); }
WAIT(syscall, !syscall(SYS_futex, &me->word, FUTEX_WAIT, 0, NULL))
static void wake_word(void)
{
	me->word = 1;
	syscall(SYS_futex, &me->word, FUTEX_WAKE, 1);
}

/* ---- conditions and their like ---- */

WAIT_COND(pthread_cond_wait, pthread_mutex_lock(&me->mutex), pthread_cond_wait(&me->cond, &me->mutex))
WAIT_COND(pthread_cond_timedwait, pthread_mutex_lock(&me->mutex), pthread_cond_timedwait(&me->cond, &me->mutex, REAL))
WAIT_COND(pthread_cond_clockwait, pthread_mutex_lock(&me->mutex), pthread_cond_clockwait(&me->cond, &me->mutex, MONO))
static void make_cond(void) { pthread_mutex_init(&me->mutex, NULL), pthread_cond_init(&me->cond, NULL); }
#define RELEASE(name, lock, wake, unlock) \
	static void name(void) { lock; me->word = 1; wake; unlock; }
RELEASE(signal_cond, pthread_mutex_lock(&me->mutex), pthread_cond_signal(&me->cond), pthread_mutex_unlock(&me->mutex))
RELEASE(broadcast_cond, pthread_mutex_lock(&me->mutex), pthread_cond_broadcast(&me->cond), pthread_mutex_unlock(&me->mutex))
#ifdef __x86_64__
int old_wait(void *cond, pthread_mutex_t *mutex);
int old_timedwait(void *cond, pthread_mutex_t *mutex, const struct timespec *until);
int old_signal(void *cond);
int old_broadcast(void *cond);
__asm__(".symver old_wait, pthread_cond_wait@GLIBC_2.2.5\n"
	".symver old_timedwait, pthread_cond_timedwait@GLIBC_2.2.5\n"
	".symver old_signal, pthread_cond_signal@GLIBC_2.2.5\n"
	".symver old_broadcast, pthread_cond_broadcast@GLIBC_2.2.5\n");
WAIT_COND(old_cond_wait, pthread_mutex_lock(&me->mutex), old_wait(&me->old_cond, &me->mutex))
WAIT_COND(old_cond_timedwait, pthread_mutex_lock(&me->mutex), old_timedwait(&me->old_cond, &me->mutex, REAL))
static void make_old_cond(void) { pthread_mutex_init(&me->mutex, NULL), me->old_cond = NULL; }
RELEASE(signal_old_cond, pthread_mutex_lock(&me->mutex), old_signal(&me->old_cond), pthread_mutex_unlock(&me->mutex))
RELEASE(broadcast_old_cond, pthread_mutex_lock(&me->mutex), old_broadcast(&me->old_cond), pthread_mutex_unlock(&me->mutex))
#endif
WAIT_COND(cnd_wait, mtx_lock(&me->mtx), cnd_wait(&me->cnd, &me->mtx))
WAIT_COND(cnd_timedwait, mtx_lock(&me->mtx), cnd_timedwait(&me->cnd, &me->mtx, REAL))
static void make_cnd(void) { mtx_init(&me->mtx, mtx_timed), cnd_init(&me->cnd); }
RELEASE(signal_cnd, mtx_lock(&me->mtx), cnd_signal(&me->cnd), mtx_unlock(&me->mtx))
RELEASE(broadcast_cnd, mtx_lock(&me->mtx), cnd_broadcast(&me->cnd), mtx_unlock(&me->mtx))
WAIT(sem_wait, !sem_wait(&me->sem))
WAIT(sem_timedwait, !sem_timedwait(&me->sem, REAL))
WAIT(sem_clockwait, !sem_clockwait(&me->sem, MONO))
static void make_sem(void) { sem_init(&me->sem, 0, 0); }
static void post_sem(void) { sem_post(&me->sem); }
WAIT(pthread_barrier_wait, pthread_barrier_wait(&me->barrier) <= 0)
static void make_barrier(void) { pthread_barrier_init(&me->barrier, NULL, 2); }
static void come_to_barrier(void) { pthread_barrier_wait(&me->barrier); }

/* a thread to be joined; it is led by calls that bypass libc, so that it waits in no row's way */
static void raw_futex(_Atomic int *word, int op)
{
	register long none __asm__("r10") = 0;
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"((long)SYS_futex), "D"(word), "S"((long)op),
			 "d"(op == FUTEX_WAIT ? 0l : INT_MAX), "r"(none) : "rcx", "r11", "memory");
}
static void *sleeper(void *row)
{
	while (!((struct row *)row)->word)
		raw_futex(&((struct row *)row)->word, FUTEX_WAIT);
	return NULL;
}
static int c11_sleeper(void *row) { return sleeper(row) != NULL; }
WAIT(pthread_join, !pthread_join(me->sleeper, NULL))
WAIT(pthread_timedjoin_np, !pthread_timedjoin_np(me->sleeper, NULL, REAL))
WAIT(pthread_clockjoin_np, !pthread_clockjoin_np(me->sleeper, NULL, MONO))
WAIT(thrd_join, thrd_join(me->c11_sleeper, NULL) == thrd_success)
static void make_sleeper(void) { check(!pthread_create(&me->sleeper, NULL, sleeper, me)); }
static void make_c11_sleeper(void) { check(thrd_create(&me->c11_sleeper, c11_sleeper, me) == thrd_success); }
static void end_sleeper(void)
{
	me->word = 1;
	raw_futex(&me->word, FUTEX_WAKE);
}

/* ---- sleeps ---- */

WAIT(thrd_sleep, !thrd_sleep(&sleep_time, NULL))
WAIT(nanosleep, !nanosleep(&sleep_time, NULL))
WAIT(clock_nanosleep, !clock_nanosleep(CLOCK_MONOTONIC, 0, &sleep_time, NULL))
WAIT(usleep, !usleep((useconds_t)(sleep_time.tv_nsec / 1000)))
WAIT(sleep, !sleep(1))
