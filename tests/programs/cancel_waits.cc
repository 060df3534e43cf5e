/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cancels threads in each waiting function, by C++ rules: destructors of their frames must run, cleanup
 * handlers too, and the mutex of a condition must be the thread's again. Waits that are no cancellation
 * points must not end. Then leaves a lock's wait by asynchronous cancellation and by siglongjmp, and
 * shows that locks and their profiles go on. Prints one line for each; the same with and without the agent.
 */
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <threads.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static sem_t sem;
static mtx_t mtx;
static cnd_t cnd;
static unsigned word = 2;
static pthread_t sleeper;
static volatile int destroyed, cleaned, relocked, began;

static timespec in_a_minute(clockid_t clock)
{
	timespec ts;

	clock_gettime(clock, &ts);
	ts.tv_sec += 60;
	return ts;
}

struct object {
	~object() { destroyed++; }
};

static void cleanup(void *)
{
	cleaned++;
	relocked = pthread_mutex_trylock(&mutex) != 0;
	if (!relocked)
		pthread_mutex_unlock(&mutex);
}

static void do_cond_wait() { pthread_cond_wait(&cond, &mutex); }
static void do_cond_timedwait()
{
	timespec ts = in_a_minute(CLOCK_REALTIME);
	pthread_cond_timedwait(&cond, &mutex, &ts);
}
static void do_cond_clockwait()
{
	timespec ts = in_a_minute(CLOCK_MONOTONIC);
	pthread_cond_clockwait(&cond, &mutex, CLOCK_MONOTONIC, &ts);
}
static void do_cnd_wait()
{
	mtx_lock(&mtx);
	cnd_wait(&cnd, &mtx);
}
static void do_sem_wait() { sem_wait(&sem); }
static void do_sem_timedwait()
{
	timespec ts = in_a_minute(CLOCK_REALTIME);
	sem_timedwait(&sem, &ts);
}
static void do_sem_clockwait()
{
	timespec ts = in_a_minute(CLOCK_MONOTONIC);
	sem_clockwait(&sem, CLOCK_MONOTONIC, &ts);
}
static void do_join() { pthread_join(sleeper, nullptr); }
static void do_timedjoin()
{
	timespec ts = in_a_minute(CLOCK_REALTIME);
	pthread_timedjoin_np(sleeper, nullptr, &ts);
}
static void do_clockjoin()
{
	timespec ts = in_a_minute(CLOCK_MONOTONIC);
	pthread_clockjoin_np(sleeper, nullptr, CLOCK_MONOTONIC, &ts);
}
static void do_mutex_lock()
{
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
}
static void do_rdlock()
{
	pthread_rwlock_rdlock(&rwlock);
	pthread_rwlock_unlock(&rwlock);
}
static void do_wrlock()
{
	pthread_rwlock_wrlock(&rwlock);
	pthread_rwlock_unlock(&rwlock);
}
static void do_mtx_lock()
{
	mtx_lock(&mtx);
	mtx_unlock(&mtx);
}
static void do_futex()
{
	syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 2, nullptr);
}

struct wait {
	const char *name;
	void (*run)();
	bool takes_mutex, point;
};
static const wait waits[] = {
	{ "cond_wait", do_cond_wait, true, true },	    { "cond_timedwait", do_cond_timedwait, true, true },
	{ "cond_clockwait", do_cond_clockwait, true, true }, { "cnd_wait", do_cnd_wait, false, true },
	{ "sem_wait", do_sem_wait, false, true },	    { "sem_timedwait", do_sem_timedwait, false, true },
	{ "sem_clockwait", do_sem_clockwait, false, true },  { "join", do_join, false, true },
	{ "timedjoin", do_timedjoin, false, true },	    { "clockjoin", do_clockjoin, false, true },
	{ "mutex_lock", do_mutex_lock, false, false },	    { "rdlock", do_rdlock, false, false },
	{ "wrlock", do_wrlock, false, false },		    { "mtx_lock", do_mtx_lock, false, false },
	{ "futex", do_futex, false, false },
};

static void *sleeps(void *)
{
	for (;;)
		pause();
	return nullptr;
}

static void *waiter(void *arg)
{
	const wait *w = static_cast<const wait *>(arg);
	object one;

	if (w->takes_mutex)
		pthread_mutex_lock(&mutex);
	pthread_cleanup_push(cleanup, nullptr);
	began = 1;
	w->run();
	pthread_cleanup_pop(0);
	if (w->takes_mutex)
		pthread_mutex_unlock(&mutex);
	return nullptr;
}

static void *waiter_at_once(void *arg)
{
	object one;

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, nullptr);
	began = 1;
	static_cast<const wait *>(arg)->run();
	return nullptr;
}

static pthread_t start(void *(*run)(void *), const wait *w)
{
	pthread_t t;

	destroyed = cleaned = relocked = began = 0;
	pthread_create(&t, nullptr, run, const_cast<wait *>(w));
	while (!began)
		usleep(1000);
	usleep(20000);
	return t;
}

static void hold(bool on)
{
	static bool held;

	if (on == held)
		return;
	held = on;
	if (on) {
		pthread_mutex_lock(&mutex);
		pthread_rwlock_wrlock(&rwlock);
		mtx_lock(&mtx);
	} else {
		pthread_mutex_unlock(&mutex);
		pthread_rwlock_unlock(&rwlock);
		mtx_unlock(&mtx);
	}
}

static jmp_buf back;

static void jump(int)
{
	siglongjmp(back, 1);
}

static void *jumper(void *)
{
	if (sigsetjmp(back, 1) == 0) {
		began = 1;
		pthread_mutex_lock(&mutex);
	}
	/* and now an ordinary wait, which must be seen */
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
	return nullptr;
}

int main()
{
	pthread_t t;

	sem_init(&sem, 0, 0);
	mtx_init(&mtx, mtx_plain);
	cnd_init(&cnd);
	pthread_create(&sleeper, nullptr, sleeps, nullptr);
	for (const wait &w : waits) {
		void *result = nullptr;
		timespec ts;

		hold(!w.point);
		t = start(waiter, &w);
		pthread_cancel(t);
		if (!w.point) {
			clock_gettime(CLOCK_REALTIME, &ts);
			ts.tv_nsec += 100000000;
			ts.tv_sec += ts.tv_nsec / 1000000000;
			ts.tv_nsec %= 1000000000;
			printf("%s ends %d", w.name, pthread_timedjoin_np(t, &result, &ts) == 0);
			hold(false);
			word = 0;
			syscall(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
		} else {
			printf("%s", w.name);
		}
		pthread_join(t, &result);
		printf(" cancelled %d destroyed %d cleaned %d has mutex %d\n", result == PTHREAD_CANCELED, destroyed,
		       cleaned, relocked);
		if (w.takes_mutex)
			pthread_mutex_unlock(&mutex);
		if (w.run == do_cnd_wait)
			mtx_unlock(&mtx);
	}
	hold(true);
	for (const wait &w : waits) {
		void *result = nullptr;

		if (w.point || w.run == do_futex)
			continue;
		t = start(waiter_at_once, &w);
		pthread_cancel(t);
		pthread_join(t, &result);
		printf("%s at once: cancelled %d destroyed %d\n", w.name, result == PTHREAD_CANCELED, destroyed);
	}
	signal(SIGUSR1, jump);
	t = start(jumper, &waits[0]);
	pthread_kill(t, SIGUSR1);
	usleep(50000);
	pthread_mutex_unlock(&mutex);
	pthread_join(t, nullptr);
	printf("jumped: locks %d\n", pthread_mutex_trylock(&mutex));
	fflush(stdout);
	getchar();
	_exit(0);
}
