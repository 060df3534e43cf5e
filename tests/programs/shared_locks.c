/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks that two processes share: every kind that may be, held for 20 ms by a child while the parent comes for it;
 * a child that dies with a robust one; rwlock, condition, semaphore and barrier between them. Prints results, one
 * line for each; the same with and without the agent. With the argument "say" also "waited NS WAITS" by the parent's
 * own clock. Waits for a line.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct {
	pthread_mutex_t mutex;
	pthread_rwlock_t rwlock;
	pthread_cond_t cond;
	sem_t sem;
	pthread_barrier_t barrier;
	_Atomic int held, coming, ready;
} *shared;
static uint64_t waited;
static int waits;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* A call of the parent's that has to wait. */
#define WAIT(call)                             \
	({                                     \
		uint64_t start_ = now_ns();    \
		int result_ = (call);          \
                                               \
		waited += now_ns() - start_;   \
		waits++;                       \
		result_;                       \
	})

static void until(const _Atomic int *flag)
{
	while (!*flag)
		usleep(500);
}

static int parent_sleeps(void)
{
	char path[64], line[256];
	FILE *file;
	int sleeps;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)getppid());
	file = fopen(path, "r");
	sleeps = file && fgets(line, sizeof(line), file) && strstr(line, ") S ");
	if (file)
		fclose(file);
	return sleeps;
}

/* In the child: the parent comes, and waits for 20 ms and more. */
static void keep_it_waiting(void)
{
	shared->held = 1;
	until(&shared->coming);
	while (!parent_sleeps())
		usleep(500);
	usleep(20000);
}

static pid_t child(void (*run)(void))
{
	pid_t pid;

	shared->held = shared->coming = shared->ready = 0;
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		abort();
	if (!pid) {
		run();
		_exit(0);
	}
	until(&shared->held);
	shared->coming = 1;
	return pid;
}

static int end_of(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return status;
}

static int lock_result;

static void holds_mutex(void)
{
	lock_result = pthread_mutex_lock(&shared->mutex);
	keep_it_waiting();
	_exit(lock_result * 16 + pthread_mutex_unlock(&shared->mutex));
}

static void dies_with_mutex(void)
{
	pthread_mutex_lock(&shared->mutex);
	keep_it_waiting();
}

static void reads(void)
{
	pthread_rwlock_rdlock(&shared->rwlock);
	keep_it_waiting();
	pthread_rwlock_unlock(&shared->rwlock);
}

static void writes(void)
{
	pthread_rwlock_wrlock(&shared->rwlock);
	keep_it_waiting();
	pthread_rwlock_unlock(&shared->rwlock);
}

static void signals(void)
{
	keep_it_waiting();
	pthread_mutex_lock(&shared->mutex);
	shared->ready = 1;
	pthread_cond_signal(&shared->cond);
	pthread_mutex_unlock(&shared->mutex);
}

static void posts(void)
{
	keep_it_waiting();
	sem_post(&shared->sem);
}

static void comes(void)
{
	keep_it_waiting();
	pthread_barrier_wait(&shared->barrier);
}

static void make_mutex(int type, int robust, int protocol)
{
	pthread_mutexattr_t attr;

	memset(&shared->mutex, 0, sizeof(shared->mutex));
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, type);
	pthread_mutexattr_setrobust(&attr, robust);
	pthread_mutexattr_setprotocol(&attr, protocol);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	if (pthread_mutex_init(&shared->mutex, &attr) != 0)
		abort();
}

static void one_mutex(int type, int robust, int protocol)
{
	pid_t pid;

	make_mutex(type, robust, protocol);
	pid = child(holds_mutex);
	printf("type %d robust %d protocol %d: lock %d", type, robust, protocol, WAIT(pthread_mutex_lock(&shared->mutex)));
	printf(" unlock %d", pthread_mutex_unlock(&shared->mutex));
	printf(" child %d", end_of(pid));
	if (robust) {
		pid = child(dies_with_mutex);
		printf(" owner-dead %d", WAIT(pthread_mutex_lock(&shared->mutex)));
		printf(" unlock %d", pthread_mutex_unlock(&shared->mutex));
		printf(" then %d", pthread_mutex_lock(&shared->mutex));
		end_of(pid);
	}
	printf("\n");
}

static int wait_for_cond(void)
{
	int err = 0;

	while (!shared->ready && !err)
		err = pthread_cond_wait(&shared->cond, &shared->mutex);
	return err;
}

static void rest(void)
{
	pthread_rwlockattr_t rw;
	pthread_condattr_t c;
	pthread_barrierattr_t b;
	pid_t pid;

	pthread_rwlockattr_init(&rw);
	pthread_rwlockattr_setpshared(&rw, PTHREAD_PROCESS_SHARED);
	pthread_rwlock_init(&shared->rwlock, &rw);
	pid = child(writes);
	printf("rdlock %d", WAIT(pthread_rwlock_rdlock(&shared->rwlock)));
	printf(" unlock %d", pthread_rwlock_unlock(&shared->rwlock));
	printf(" child %d\n", end_of(pid));
	pid = child(reads);
	printf("wrlock %d", WAIT(pthread_rwlock_wrlock(&shared->rwlock)));
	printf(" unlock %d", pthread_rwlock_unlock(&shared->rwlock));
	printf(" child %d\n", end_of(pid));
	make_mutex(PTHREAD_MUTEX_NORMAL, 0, 0);
	pthread_condattr_init(&c);
	pthread_condattr_setpshared(&c, PTHREAD_PROCESS_SHARED);
	pthread_cond_init(&shared->cond, &c);
	pthread_mutex_lock(&shared->mutex);
	pid = child(signals);
	printf("cond %d", WAIT(wait_for_cond()));
	printf(" unlock %d", pthread_mutex_unlock(&shared->mutex));
	printf(" child %d\n", end_of(pid));
	sem_init(&shared->sem, 1, 0);
	pid = child(posts);
	printf("sem %d", WAIT(sem_wait(&shared->sem)));
	printf(" child %d\n", end_of(pid));
	pthread_barrierattr_init(&b);
	pthread_barrierattr_setpshared(&b, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->barrier, &b, 2);
	pid = child(comes);
	printf("barrier %d", WAIT(pthread_barrier_wait(&shared->barrier)) <= 0);
	printf(" child %d\n", end_of(pid));
}

int main(int argc, char **argv)
{
	static const int types[] = { PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK,
				     PTHREAD_MUTEX_ADAPTIVE_NP };

	alarm(100);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int t = 0; t < 4; t++)
		for (int robust = 0; robust < 2; robust++)
			for (int protocol = PTHREAD_PRIO_NONE; protocol <= PTHREAD_PRIO_INHERIT; protocol++)
				one_mutex(types[t], robust, protocol);
	rest();
	if (argc > 1)
		printf("waited %lu %d\n", (unsigned long)waited, waits);
	puts("end");
	fflush(stdout);
	getchar();
	return 0;
}
