/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Results of every lock and wait in every state that one can be in without a race: prints one line for
 * each. The lines must be the same with and without the agent.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

enum { PAST_MS = -1000, SOON_MS = 20, BAD_NS = 1 << 20 };

static const struct timespec *after(clockid_t clock, int ms)
{
	static _Thread_local struct timespec ts;

	if (ms == BAD_NS) {
		ts = (struct timespec){ 1, 1000000000 };
		return &ts;
	}
	clock_gettime(clock, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += ms % 1000 * 1000000l;
	if (ts.tv_nsec < 0)
		ts.tv_nsec += 1000000000, ts.tv_sec--;
	if (ts.tv_nsec >= 1000000000)
		ts.tv_nsec -= 1000000000, ts.tv_sec++;
	return &ts;
}

/* All that may be called on a mutex; some must not on a normal one that the caller has. */
enum how { LOCK, TRY, TIMED_PAST, TIMED, TIMED_BAD, CLOCK_MONO, CLOCK_REAL, CLOCK_CPU, CLOCK_PAST, HOWS };
static const char *const how_names[] = { "lock",	"try",	     "timed-past", "timed",   "timed-bad",
					 "clock-mono", "clock-real", "clock-cpu",  "clock-past" };

static int take(pthread_mutex_t *m, enum how how)
{
	switch (how) {
	case LOCK:
		return pthread_mutex_lock(m);
	case TRY:
		return pthread_mutex_trylock(m);
	case TIMED_PAST:
		return pthread_mutex_timedlock(m, after(CLOCK_REALTIME, PAST_MS));
	case TIMED:
		return pthread_mutex_timedlock(m, after(CLOCK_REALTIME, SOON_MS));
	case TIMED_BAD:
		return pthread_mutex_timedlock(m, after(CLOCK_REALTIME, BAD_NS));
	case CLOCK_MONO:
		return pthread_mutex_clocklock(m, CLOCK_MONOTONIC, after(CLOCK_MONOTONIC, SOON_MS));
	case CLOCK_REAL:
		return pthread_mutex_clocklock(m, CLOCK_REALTIME, after(CLOCK_REALTIME, SOON_MS));
	case CLOCK_CPU:
		return pthread_mutex_clocklock(m, CLOCK_PROCESS_CPUTIME_ID, after(CLOCK_REALTIME, SOON_MS));
	default:
		return pthread_mutex_clocklock(m, CLOCK_MONOTONIC, after(CLOCK_MONOTONIC, PAST_MS));
	}
}

struct kind {
	int type, robust, protocol, shared;
};

static int make(pthread_mutex_t *m, const struct kind *k)
{
	pthread_mutexattr_t attr;
	int err;

	memset(m, 0, sizeof(*m));
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, k->type);
	pthread_mutexattr_setrobust(&attr, k->robust ? PTHREAD_MUTEX_ROBUST : PTHREAD_MUTEX_STALLED);
	pthread_mutexattr_setprotocol(&attr, k->protocol);
	if (k->protocol == PTHREAD_PRIO_PROTECT)
		pthread_mutexattr_setprioceiling(&attr, 1);
	pthread_mutexattr_setpshared(&attr, k->shared);
	err = pthread_mutex_init(m, &attr);
	pthread_mutexattr_destroy(&attr);
	return err;
}

static pthread_mutex_t *shared_mutex;
static int result;
static enum how other_how;

static void *other_takes(void *arg)
{
	result = take(arg, other_how);
	if (result == EOWNERDEAD)
		pthread_mutex_consistent(arg);
	if (result == 0 || result == EOWNERDEAD)
		pthread_mutex_unlock(arg);
	return NULL;
}

static void *other_dies_with_it(void *arg)
{
	pthread_mutex_lock(arg);
	return NULL;
}

static void *other_unlocks(void *arg)
{
	result = pthread_mutex_unlock(arg);
	return NULL;
}

static int in_other(void *(*run)(void *), pthread_mutex_t *m)
{
	pthread_t t;

	result = -1;
	pthread_create(&t, NULL, run, m);
	pthread_join(t, NULL);
	return result;
}

static void *locks_later(void *arg)
{
	struct timespec ts = { 0, 15000000 };

	pthread_mutex_lock(arg);
	nanosleep(&ts, NULL);
	pthread_mutex_unlock(arg);
	return NULL;
}

/* A lock that has to wait and then gets it. */
static int waits_for(pthread_mutex_t *m, enum how how)
{
	struct timespec ts = { 0, 5000000 };
	pthread_t t;
	int err;

	pthread_create(&t, NULL, locks_later, m);
	nanosleep(&ts, NULL);
	err = how == LOCK ? pthread_mutex_lock(m) :
			    pthread_mutex_clocklock(m, CLOCK_MONOTONIC, after(CLOCK_MONOTONIC, 60000));
	pthread_mutex_unlock(m);
	pthread_join(t, NULL);
	return err;
}

/* How long it took, in steps that a busy machine cannot blur. */
static const char *slow(int ms)
{
	return ms >= SOON_MS - 2 ? "waited" : "at once";
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void one_kind(const struct kind *k)
{
	pthread_mutex_t *m = shared_mutex;
	int own_blocks = k->type == PTHREAD_MUTEX_NORMAL || k->type == PTHREAD_MUTEX_ADAPTIVE_NP;
	int err = make(m, k);

	printf("type %d robust %d protocol %d shared %d: init %d\n", k->type, k->robust, k->protocol, k->shared,
	       err);
	if (err)
		return;
	for (int how = 0; how < HOWS; how++) {
		int free_result, held_result = -1, again = -1, unlock;
		int64_t start;

		make(m, k);
		free_result = take(m, how);
		printf("  %s free %d", how_names[how], free_result);
		if (free_result == 0 && k->protocol != PTHREAD_PRIO_PROTECT) {
			if (how != LOCK) {
				other_how = how;
				start = now_ms();
				held_result = in_other(other_takes, m);
				printf(" held %d %s", held_result, how == TIMED || how == CLOCK_MONO || how == CLOCK_REAL ?
									slow((int)(now_ms() - start)) : "");
			}
			if (!own_blocks || how != LOCK) {
				again = take(m, how);
				printf(" again %d", again);
				if (again == 0)
					pthread_mutex_unlock(m);
			}
			if (k->type != PTHREAD_MUTEX_NORMAL && k->type != PTHREAD_MUTEX_ADAPTIVE_NP)
				printf(" foreign-unlock %d", in_other(other_unlocks, m));
		}
		if (free_result == 0) {
			unlock = pthread_mutex_unlock(m);
			printf(" unlock %d", unlock);
			if (!own_blocks)
				printf(" unlock-again %d", pthread_mutex_unlock(m));
		}
		if (k->robust && free_result == 0) {
			pthread_mutex_t *dead = m;

			make(dead, k);
			in_other(other_dies_with_it, dead);
			err = take(dead, how);
			printf(" owner-dead %d", err);
			if (err == EOWNERDEAD) {
				printf(" consistent %d", how & 1 ? pthread_mutex_consistent(dead) : -1);
				printf(" unlock %d", pthread_mutex_unlock(dead));
				printf(" then %d", take(dead, how));
			}
		}
		printf("\n");
	}
	if (k->protocol == PTHREAD_PRIO_PROTECT)
		return;
	make(m, k);
	printf("  waits %d", waits_for(m, LOCK));
	printf(" %d", waits_for(m, CLOCK_MONO));
	printf(" destroy %d\n", pthread_mutex_destroy(m));
}

static void *read_lock(void *arg)
{
	result = pthread_rwlock_tryrdlock(arg);
	if (!result)
		pthread_rwlock_unlock(arg);
	return NULL;
}

static void rwlocks(int kind, int shared)
{
	pthread_rwlockattr_t attr;
	pthread_rwlock_t l;
	pthread_t t;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, kind);
	pthread_rwlockattr_setpshared(&attr, shared);
	pthread_rwlock_init(&l, &attr);
	printf("rwlock kind %d shared %d: rd %d", kind, shared, pthread_rwlock_rdlock(&l));
	printf(" rd %d", pthread_rwlock_rdlock(&l));
	printf(" trywr %d", pthread_rwlock_trywrlock(&l));
	printf(" timedwr-past %d", pthread_rwlock_timedwrlock(&l, after(CLOCK_REALTIME, PAST_MS)));
	printf(" timedwr %d", pthread_rwlock_timedwrlock(&l, after(CLOCK_REALTIME, SOON_MS)));
	printf(" timedwr-bad %d", pthread_rwlock_timedwrlock(&l, after(CLOCK_REALTIME, BAD_NS)));
	printf(" clockwr %d", pthread_rwlock_clockwrlock(&l, CLOCK_MONOTONIC, after(CLOCK_MONOTONIC, SOON_MS)));
	pthread_rwlock_unlock(&l);
	printf(" unlock %d", pthread_rwlock_unlock(&l));
	printf(" rd-bad %d", pthread_rwlock_timedrdlock(&l, after(CLOCK_REALTIME, BAD_NS)));
	printf(" rd-cpu %d", pthread_rwlock_clockrdlock(&l, CLOCK_PROCESS_CPUTIME_ID, after(CLOCK_REALTIME, 1)));
	printf(" wr-cpu %d", pthread_rwlock_clockwrlock(&l, CLOCK_PROCESS_CPUTIME_ID, after(CLOCK_REALTIME, 1)));
	printf(" wr %d", pthread_rwlock_wrlock(&l));
	printf(" own-rd %d", pthread_rwlock_rdlock(&l));
	printf(" own-wr %d", pthread_rwlock_wrlock(&l));
	printf(" timedrd %d", pthread_rwlock_timedrdlock(&l, after(CLOCK_REALTIME, SOON_MS)));
	printf(" clockrd %d", pthread_rwlock_clockrdlock(&l, CLOCK_MONOTONIC, after(CLOCK_MONOTONIC, SOON_MS)));
	pthread_create(&t, NULL, read_lock, &l);
	pthread_join(t, NULL);
	printf(" other-rd %d unlock %d", result, pthread_rwlock_unlock(&l));
	printf(" rd-past %d", pthread_rwlock_timedrdlock(&l, after(CLOCK_REALTIME, PAST_MS)));
	printf(" unlock %d", pthread_rwlock_unlock(&l));
	printf(" destroy %d\n", pthread_rwlock_destroy(&l));
}

#define SEM(call)                                                  \
	do {                                                       \
		int r_;                                            \
                                                                   \
		errno = 4711;                                      \
		r_ = call;                                         \
		printf("  " #call " %d errno %d\n", r_, errno);    \
	} while (0)

static void sems(void)
{
	sem_t s;
	int value;

	sem_init(&s, 0, 2);
	puts("sem");
	SEM(sem_wait(&s));
	SEM(sem_timedwait(&s, after(CLOCK_REALTIME, BAD_NS)));
	SEM(sem_clockwait(&s, CLOCK_PROCESS_CPUTIME_ID, after(CLOCK_REALTIME, 1)));
	SEM(sem_timedwait(&s, after(CLOCK_REALTIME, PAST_MS)));
	SEM(sem_trywait(&s));
	SEM(sem_timedwait(&s, after(CLOCK_REALTIME, PAST_MS)));
	SEM(sem_timedwait(&s, after(CLOCK_REALTIME, SOON_MS)));
	SEM(sem_timedwait(&s, after(CLOCK_REALTIME, BAD_NS)));
	SEM(sem_clockwait(&s, CLOCK_MONOTONIC, after(CLOCK_MONOTONIC, SOON_MS)));
	SEM(sem_post(&s));
	SEM(sem_clockwait(&s, CLOCK_MONOTONIC, after(CLOCK_MONOTONIC, SOON_MS)));
	SEM(sem_getvalue(&s, &value));
	printf("  value %d\n", value);
}

static void conds(void)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER, e;
	pthread_cond_t c = PTHREAD_COND_INITIALIZER;
	struct kind check = { PTHREAD_MUTEX_ERRORCHECK, 0, 0, 0 };

	pthread_mutex_lock(&m);
	printf("cond timed-past %d", pthread_cond_timedwait(&c, &m, after(CLOCK_REALTIME, PAST_MS)));
	printf(" timed %d", pthread_cond_timedwait(&c, &m, after(CLOCK_REALTIME, SOON_MS)));
	printf(" bad %d", pthread_cond_timedwait(&c, &m, after(CLOCK_REALTIME, BAD_NS)));
	printf(" clock %d", pthread_cond_clockwait(&c, &m, CLOCK_MONOTONIC, after(CLOCK_MONOTONIC, SOON_MS)));
	printf(" cpu %d", pthread_cond_clockwait(&c, &m, CLOCK_PROCESS_CPUTIME_ID, after(CLOCK_REALTIME, 1)));
	printf(" try %d", pthread_mutex_trylock(&m));
	printf(" unlock %d", pthread_mutex_unlock(&m));
	make(&e, &check);
	printf(" not-owner %d", pthread_cond_wait(&c, &e));
	printf(" %d\n", pthread_cond_timedwait(&c, &e, after(CLOCK_REALTIME, SOON_MS)));
}

static void *sleeps(void *arg)
{
	struct timespec ts = { 0, (long)(intptr_t)arg * 1000000l };

	nanosleep(&ts, NULL);
	return arg;
}

static int c11_sleeps(void *arg)
{
	sleeps(arg);
	return 7;
}

static void joins(void)
{
	void *out = NULL;
	pthread_t t;
	thrd_t c;
	int value = 0;

	pthread_create(&t, NULL, sleeps, (void *)50);
	printf("join self %d", pthread_join(pthread_self(), &out));
	printf(" try %d", pthread_tryjoin_np(t, &out));
	printf(" timed %d", pthread_timedjoin_np(t, &out, after(CLOCK_REALTIME, 1)));
	printf(" clock %d", pthread_clockjoin_np(t, &out, CLOCK_MONOTONIC, after(CLOCK_MONOTONIC, 1)));
	printf(" cpu %d", pthread_clockjoin_np(t, &out, CLOCK_PROCESS_CPUTIME_ID, after(CLOCK_MONOTONIC, 1)));
	printf(" join %d", pthread_join(t, &out));
	printf(" %ld", (long)(intptr_t)out);
	pthread_create(&t, NULL, sleeps, (void *)1);
	usleep(30000);
	printf(" ended %d", pthread_join(t, &out));
	printf(" %ld", (long)(intptr_t)out);
	pthread_create(&t, NULL, sleeps, (void *)2);
	pthread_detach(t);
	printf(" detached %d", pthread_join(t, &out));
	thrd_create(&c, c11_sleeps, (void *)5);
	printf(" thrd %d", thrd_join(c, &value));
	printf(" %d\n", value);
	usleep(20000);
}

static void c11(void)
{
	static const int kinds[] = { mtx_plain, mtx_timed, mtx_plain | mtx_recursive, mtx_timed | mtx_recursive };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		mtx_t m;
		cnd_t c;

		printf("mtx %d: init %d lock", kinds[i], mtx_init(&m, kinds[i]));
		printf(" %d", mtx_lock(&m));
		printf(" try %d", mtx_trylock(&m));
		printf(" timed %d", mtx_timedlock(&m, after(CLOCK_REALTIME, SOON_MS)));
		printf(" bad %d", mtx_timedlock(&m, after(CLOCK_REALTIME, BAD_NS)));
		printf(" unlock %d", mtx_unlock(&m));
		cnd_init(&c);
		if (!(kinds[i] & mtx_recursive)) {
			mtx_lock(&m);
			printf(" cnd %d", cnd_timedwait(&c, &m, after(CLOCK_REALTIME, SOON_MS)));
		}
		printf("\n");
	}
}

static void rest(void)
{
	pthread_barrier_t b;
	pthread_spinlock_t s;
	unsigned word = 3;

	pthread_barrier_init(&b, NULL, 1);
	printf("barrier %d", pthread_barrier_wait(&b));
	pthread_spin_init(&s, 0);
	printf(" spin %d", pthread_spin_lock(&s));
	printf(" try %d", pthread_spin_trylock(&s));
	printf(" unlock %d\n", pthread_spin_unlock(&s));
	puts("futex");
	SEM((int)syscall(SYS_futex, &word, 0, 4, NULL));
	SEM((int)syscall(SYS_futex, &word, 128, 3, &(struct timespec){ 0, 1000000 }));
	SEM((int)syscall(SYS_futex, &word, 9 | 128, 3, after(CLOCK_MONOTONIC, SOON_MS), NULL, -1));
	SEM((int)syscall(SYS_futex, &word, 9 | 128 | 256, 3, after(CLOCK_REALTIME, SOON_MS), NULL, -1));
	SEM((int)syscall(SYS_futex, &word, 9, 3, after(CLOCK_MONOTONIC, SOON_MS), NULL, 0));
	SEM((int)syscall(SYS_futex, &word, 1, 1));
	SEM((int)syscall(SYS_futex, NULL, 1, 1));
	SEM((int)syscall(SYS_futex, &word, 77, 1));
	SEM((int)(syscall(SYS_getpid) == getpid()));
	SEM((int)syscall(99999, 1, 2, 3, 4, 5, 6));
	/* six arguments, all of them used */
	SEM((int)(syscall(SYS_mmap, NULL, 4096ul, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0l) != -1));
}

int main(void)
{
	static const int types[] = { PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK,
				     PTHREAD_MUTEX_ADAPTIVE_NP };
	static const int protocols[] = { PTHREAD_PRIO_NONE, PTHREAD_PRIO_INHERIT, PTHREAD_PRIO_PROTECT };

	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	shared_mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (size_t t = 0; t < 4; t++)
		for (int robust = 0; robust < 2; robust++)
			for (size_t p = 0; p < 3; p++)
				for (int shared = 0; shared < 2; shared++)
					one_kind(&(struct kind){ types[t], robust, protocols[p], shared });
	for (int kind = 0; kind < 3; kind++)
		for (int shared = 0; shared < 2; shared++)
			rwlocks(kind, shared);
	sems();
	conds();
	joins();
	c11();
	rest();
	return 0;
}
