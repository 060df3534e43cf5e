/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks as fast as they go, through libc's own functions and as the program calls them, in turns within one
 * process: whatever the machine does meets both alike.
 *
 *   locks pair          lock + unlock of one mutex, in a process with a second, sleeping thread
 *   locks many          the same over 4096 mutexes
 *   locks busy          the same of a mutex that another thread had at a time
 *   locks rdlock        rdlock + unlock
 *   locks wrlock        wrlock + unlock
 *   locks sem           sem_wait + sem_post
 *   locks spin          spin lock + unlock
 *       These print four numbers: ns of libc's own functions, and what a pair costs more as the program
 *       calls it: lower quartile, median, upper quartile. Chunk against chunk, in random order.
 *   locks contended N [ROUNDS]   N threads: lock, a little work, unlock, a little work
 *   locks hold N                 N threads: lock, 5 us of work, unlock, 5 us of work
 *   locks pingpong 2             two threads hand a turn to each other through a condition
 *   locks readers N              N threads: rdlock, a little work, unlock; one in 1000 is a wrlock
 *       In each round all threads work for 8 ms each of four ways in random order: twice by libc's functions, twice
 *       as the program calls them. These print ns per operation by libc's functions, then of two ratios their lower
 *       quartiles, medians and upper quartiles over the rounds: operations per second as the program calls them
 *       over libc's; one turn of each over the other turn of each, which is the noise. A second line: the same of the
 *       CPU time that an operation takes (where less is better).
 */
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MANY = 4096, CHUNK_MS = 8, THREADS_MAX = 64 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, many[MANY];
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_spinlock_t spin;
static _Atomic int stop;
static _Atomic uint64_t total;
static int turn, work_inside, work_outside;
static volatile uint64_t shared;

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void work(int n)
{
	for (int i = 0; i < n; i++)
		__asm__ volatile("" ::: "memory");
}

static void *sleeper(void *arg)
{
	pause();
	return NULL;
}

/* ---- threads that want the same ---- */

struct calls {
	int (*lock)(pthread_mutex_t *), (*unlock)(pthread_mutex_t *);
	int (*wait)(pthread_cond_t *, pthread_mutex_t *), (*signal)(pthread_cond_t *), (*broadcast)(pthread_cond_t *);
	int (*rdlock)(pthread_rwlock_t *), (*wrlock)(pthread_rwlock_t *), (*rwunlock)(pthread_rwlock_t *);
};
static const struct calls as_called = {
	pthread_mutex_lock,	pthread_mutex_unlock,	pthread_cond_wait,	pthread_cond_signal,
	pthread_cond_broadcast, pthread_rwlock_rdlock,	pthread_rwlock_wrlock,	pthread_rwlock_unlock,
};
static struct calls of_libc;
static const struct calls *calls; /* of this turn; NULL: it was the last one */
static pthread_barrier_t start_line, finish_line;

static void find_libc(void)
{
	static const struct {
		void *to;
		const char *name;
	} all[] = {
		{ &of_libc.lock, "pthread_mutex_lock" },      { &of_libc.unlock, "pthread_mutex_unlock" },
		{ &of_libc.wait, "pthread_cond_wait" },	      { &of_libc.signal, "pthread_cond_signal" },
		{ &of_libc.broadcast, "pthread_cond_broadcast" }, { &of_libc.rdlock, "pthread_rwlock_rdlock" },
		{ &of_libc.wrlock, "pthread_rwlock_wrlock" }, { &of_libc.rwunlock, "pthread_rwlock_unlock" },
	};
	void *libc = dlopen("libc.so.6", RTLD_NOW);

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		/* conditions have two versions, of which this is the one that programs use */
		void *found = strstr(all[i].name, "cond") ? dlvsym(libc, all[i].name, "GLIBC_2.3.2") : NULL;

		if (!found && !(found = dlsym(libc, all[i].name)))
			abort();
		*(void **)all[i].to = found;
	}
}

static uint64_t contend(const struct calls *c, int me)
{
	uint64_t n = 0;

	for (; !atomic_load_explicit(&stop, memory_order_relaxed); n++) {
		c->lock(&mutex);
		shared++;
		work(work_inside);
		c->unlock(&mutex);
		work(work_outside);
	}
	return n;
}

static uint64_t read_mostly(const struct calls *c, int me)
{
	uint64_t n = 0;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		if (++n % 1000)
			c->rdlock(&rwlock);
		else
			c->wrlock(&rwlock);
		work(work_inside);
		c->rwunlock(&rwlock);
		work(work_outside);
	}
	return n;
}

static uint64_t play(const struct calls *c, int me)
{
	uint64_t n = 0;

	c->lock(&mutex);
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		while (turn != me && !stop)
			c->wait(&cond, &mutex);
		turn = 1 - me;
		n++;
		c->signal(&cond);
	}
	c->unlock(&mutex);
	c->broadcast(&cond);
	return n;
}

static uint64_t (*run)(const struct calls *, int);

static void *runner(void *arg)
{
	for (;;) {
		pthread_barrier_wait(&start_line);
		if (!calls)
			return NULL;
		atomic_fetch_add(&total, run(calls, (int)(intptr_t)arg));
		pthread_barrier_wait(&finish_line);
	}
}

struct speed {
	double ns, cpu_ns; /* per operation */
};

static struct speed one_turn(const struct calls *how)
{
	const struct timespec ts = { 0, CHUNK_MS * 1000000 };
	uint64_t start, cpu, end;

	calls = how;
	total = 0;
	stop = 0;
	cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	pthread_barrier_wait(&start_line);
	start = now_ns(CLOCK_MONOTONIC);
	nanosleep(&ts, NULL);
	stop = 1;
	end = now_ns(CLOCK_MONOTONIC);
	pthread_barrier_wait(&finish_line);
	cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	return (struct speed){ (double)(end - start) / (double)(total + 1), (double)cpu / (double)(total + 1) };
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void print_quartiles(double *of, int n)
{
	qsort(of, (size_t)n, sizeof(*of), ascending);
	printf(" %.4f %.4f %.4f", of[n / 4], of[n / 2], of[n * 3 / 4]);
}

static void threads(int n, int rounds)
{
	enum { BARE, BARE_AGAIN, CALLED, CALLED_AGAIN, WAYS };
	double *ns = malloc(3 * (size_t)rounds * sizeof(*ns)), *ratio = ns + rounds, *noise = ratio + rounds;
	struct speed (*took)[WAYS] = malloc((size_t)rounds * sizeof(*took));
	pthread_t made[THREADS_MAX];

	find_libc();
	pthread_barrier_init(&start_line, NULL, (unsigned)n + 1);
	pthread_barrier_init(&finish_line, NULL, (unsigned)n + 1);
	for (int i = 0; i < n; i++)
		pthread_create(&made[i], NULL, runner, (void *)(intptr_t)i);
	for (int r = -1; r < rounds; r++) { /* the first one is for the caches */
		int first = rand() % WAYS, other = rand() % WAYS;

		for (int i = 0; i < WAYS; i++) {
			int way = (first + i) % WAYS ^ other;

			took[r < 0 ? 0 : r][way] = one_turn(way >= CALLED ? &as_called : &of_libc);
		}
	}
	calls = NULL;
	pthread_barrier_wait(&start_line);
	for (int i = 0; i < n; i++)
		pthread_join(made[i], NULL);
	for (int cpu = 0; cpu < 2; cpu++) {
		for (int r = 0; r < rounds; r++) {
			double t[WAYS];

			/* operations per second: the inverse of the times; CPU time: as it is */
			for (int i = 0; i < WAYS; i++)
				t[i] = cpu ? took[r][i].cpu_ns : 1 / took[r][i].ns;
			ns[r] = cpu ? took[r][BARE].cpu_ns : took[r][BARE].ns;
			ratio[r] = (t[CALLED] + t[CALLED_AGAIN]) / (t[BARE] + t[BARE_AGAIN]);
			noise[r] = (t[BARE] + t[CALLED]) / (t[BARE_AGAIN] + t[CALLED_AGAIN]);
		}
		qsort(ns, (size_t)rounds, sizeof(*ns), ascending);
		printf("%.1f", ns[rounds / 2]);
		print_quartiles(ratio, rounds);
		print_quartiles(noise, rounds);
		printf("\n");
	}
}

/* ---- pairs without contention ---- */

enum { CHUNK = 4096, ROUNDS = 1500 };

typedef int call(void *);
struct pair {
	const char *name;
	const char *take_name, *give_name;
	call *take, *give; /* as the program calls them */
	void *what;
};

static sem_t sem;
static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER;
static struct pair pairs[] = {
	{ "pair", "pthread_mutex_lock", "pthread_mutex_unlock", (call *)pthread_mutex_lock,
	  (call *)pthread_mutex_unlock, &mutex },
	{ "many", "pthread_mutex_lock", "pthread_mutex_unlock", (call *)pthread_mutex_lock,
	  (call *)pthread_mutex_unlock, NULL },
	{ "busy", "pthread_mutex_lock", "pthread_mutex_unlock", (call *)pthread_mutex_lock,
	  (call *)pthread_mutex_unlock, &busy },
	{ "rdlock", "pthread_rwlock_rdlock", "pthread_rwlock_unlock", (call *)pthread_rwlock_rdlock,
	  (call *)pthread_rwlock_unlock, &rwlock },
	{ "wrlock", "pthread_rwlock_wrlock", "pthread_rwlock_unlock", (call *)pthread_rwlock_wrlock,
	  (call *)pthread_rwlock_unlock, &rwlock },
	{ "sem", "sem_wait", "sem_post", (call *)sem_wait, (call *)sem_post, &sem },
	{ "spin", "pthread_spin_lock", "pthread_spin_unlock", (call *)pthread_spin_lock,
	  (call *)pthread_spin_unlock, (void *)&spin },
};

static __attribute__((noinline)) double chunk(call *take, call *give, void *what)
{
	uint64_t start = now_ns(CLOCK_MONOTONIC);

	for (unsigned i = 0; i < CHUNK; i++) {
		void *at = what ? what : &many[i];

		take(at);
		__asm__ volatile("" ::: "memory");
		give(at);
	}
	return (double)(now_ns(CLOCK_MONOTONIC) - start) / CHUNK;
}

static _Atomic int held;

static void *holder(void *arg)
{
	const struct timespec ts = { 0, 20000000 };

	pthread_mutex_lock(&busy);
	held = 1;
	nanosleep(&ts, NULL);
	pthread_mutex_unlock(&busy);
	return NULL;
}

static void find_it_busy(void)
{
	pthread_t other;

	pthread_create(&other, NULL, holder, NULL);
	while (!held)
		;
	pthread_mutex_lock(&busy);
	pthread_mutex_unlock(&busy);
	pthread_join(other, NULL);
}

static void compare(const struct pair *p)
{
	static double bare[ROUNDS], more[ROUNDS];
	void *libc = dlopen("libc.so.6", RTLD_NOW);
	call *take = (call *)dlsym(libc, p->take_name), *give = (call *)dlsym(libc, p->give_name);
	pthread_t other;

	pthread_create(&other, NULL, sleeper, NULL);
	pthread_spin_init(&spin, 0);
	sem_init(&sem, 0, 1);
	for (int i = 0; i < MANY; i++)
		pthread_mutex_init(&many[i], NULL);
	find_it_busy();
	for (int r = 0; r < ROUNDS; r++) {
		double hooked = 0;

		if (rand() & 1)
			hooked = chunk(p->take, p->give, p->what);
		bare[r] = chunk(take, give, p->what);
		if (!hooked)
			hooked = chunk(p->take, p->give, p->what);
		more[r] = hooked - bare[r];
	}
	qsort(bare, ROUNDS, sizeof(bare[0]), ascending);
	qsort(more, ROUNDS, sizeof(more[0]), ascending);
	printf("%.2f %.2f %.2f %.2f\n", bare[ROUNDS / 2], more[ROUNDS / 4], more[ROUNDS / 2],
	       more[ROUNDS * 3 / 4]);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	int n = argc > 2 ? atoi(argv[2]) : 2, rounds = argc > 3 ? atoi(argv[3]) : 300;

	work_inside = 30;
	work_outside = 60;
	if (!strcmp(what, "hold"))
		work_inside = work_outside = 10000;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (strcmp(what, pairs[i].name))
			continue;
		compare(&pairs[i]);
		return 0;
	}
	if (!strcmp(what, "contended") || !strcmp(what, "hold"))
		run = contend;
	else if (!strcmp(what, "readers"))
		run = read_mostly;
	else if (!strcmp(what, "pingpong") && n == 2)
		run = play;
	if (!run || n < 1 || n > THREADS_MAX || rounds < 4)
		return 2;
	threads(n, rounds);
	return 0;
}
