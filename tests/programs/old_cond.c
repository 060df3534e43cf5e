/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that was linked against glibc's first condition variables, of 8 bytes: a canary stands behind
 * them. Waits, is woken, waits until its time runs out. Prints "intact".
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#ifdef __x86_64__
int old_init(void *cond, const void *attr);
int old_wait(void *cond, pthread_mutex_t *mutex);
int old_timedwait(void *cond, pthread_mutex_t *mutex, const struct timespec *until);
int old_signal(void *cond);
__asm__(".symver old_init, pthread_cond_init@GLIBC_2.2.5\n"
	".symver old_wait, pthread_cond_wait@GLIBC_2.2.5\n"
	".symver old_timedwait, pthread_cond_timedwait@GLIBC_2.2.5\n"
	".symver old_signal, pthread_cond_signal@GLIBC_2.2.5\n");

enum { CANARIES = 16 };

static struct {
	void *cond; /* all that there is of it */
	uint64_t canary[CANARIES];
} old;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int ready;

static void *wakes(void *arg)
{
	usleep(20000);
	pthread_mutex_lock(&mutex);
	ready = 1;
	old_signal(&old.cond);
	pthread_mutex_unlock(&mutex);
	return NULL;
}

int main(void)
{
	struct timespec ts;
	pthread_t t;
	int err;

	for (int i = 0; i < CANARIES; i++)
		old.canary[i] = 0x1122334455667788u + (unsigned)i;
	old_init(&old.cond, NULL);
	pthread_create(&t, NULL, wakes, NULL);
	pthread_mutex_lock(&mutex);
	while (!ready)
		old_wait(&old.cond, &mutex);
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += 1;
	ts.tv_nsec = 0;
	err = old_timedwait(&old.cond, &mutex, &ts);
	pthread_mutex_unlock(&mutex);
	pthread_join(t, NULL);
	for (int i = 0; i < CANARIES; i++)
		if (old.canary[i] != 0x1122334455667788u + (unsigned)i)
			return puts("overwritten"), 1;
	puts(err == ETIMEDOUT ? "intact" : "no time-out");
	fflush(stdout);
	getchar();
	return 0;
}
#else
int main(void)
{
	puts("intact");
	return 0;
}
#endif
