/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that spend known CPU time in known functions and say how much, by their own
 * CLOCK_THREAD_CPUTIME_ID: the truth that CPU profiles are compared with.
 *
 *   cpu_split pool N MS   N threads made at once; each spends MS ms after "go", then waits
 *   cpu_split new N MS    the threads are made after "go" and end when done
 *   cpu_split many N US W N threads, each of US microseconds, W at a time, made after "go"
 *
 * Prints "ready", waits for a line on stdin ("go"), works until done or until the next line ("stop"),
 * prints one line "alpha beta total parts parts" for each thread (many: one for all, "threads 0 total")
 * and one for main, then "done", waits for one more line, ends. Times in ns.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

struct work {
	int index;
	uint64_t ns;	       /* CPU time to spend */
	uint64_t alpha, beta;  /* spent in each function */
	unsigned alphas, betas; /* calls of each */
	uint64_t total;	       /* spent by the thread since it was released */
	uint64_t random;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int waiting, finished, released, ending;
static _Atomic int stopped;
static _Atomic uint64_t sum_total;
static volatile uint64_t sink;

static uint64_t thread_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Two different bodies, or the compiler's identical-code folding would make one of them. */
static NOINLINE uint64_t work_alpha(uint64_t until)
{
	uint64_t x = until, now;

	do {
		for (int i = 0; i < 20000; i++)
			x = x * 6364136223846793005u + 1;
		sink = x;
		now = thread_ns();
	} while (now < until && !stopped);
	return now;
}

static NOINLINE uint64_t work_beta(uint64_t until)
{
	uint64_t x = until, now;

	do {
		for (int i = 0; i < 15000; i++)
			x = (x ^ (x >> 13)) * 0x9e3779b97f4a7c15u;
		sink = x;
		now = thread_ns();
	} while (now < until && !stopped);
	return now;
}

/* Slices of random length: their boundaries must not keep step with the sampling. */
static uint64_t slice(struct work *w)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return 40000000 + (w->random >> 33) % 160000000;
}

static void spend(struct work *w)
{
	uint64_t begin = thread_ns(), now = begin, end = begin + w->ns;

	/* Thread i gives (i % 4 + 1) fifths of its time to alpha. */
	unsigned share = (unsigned)w->index % 4 + 1;

	while (now < end && !stopped) {
		uint64_t length = slice(w), from = now;
		uint64_t middle = from + length * share / 5, until = from + length;

		now = work_alpha(middle < end ? middle : end);
		w->alpha += now - from;
		w->alphas++;
		from = now;
		if (now >= end || stopped)
			break;
		now = work_beta(until < end ? until : end);
		w->beta += now - from;
		w->betas++;
	}
}

#define THREAD_BODY(name)                   \
	static NOINLINE void name(struct work *w) \
	{                                   \
		spend(w);                   \
		sink++;                     \
	}
THREAD_BODY(thread_zero)
THREAD_BODY(thread_one)
THREAD_BODY(thread_two)
THREAD_BODY(thread_three)
static void (*const bodies[])(struct work *) = { thread_zero, thread_one, thread_two, thread_three };

static void *pool_thread(void *arg)
{
	struct work *w = arg;
	uint64_t begin;

	pthread_mutex_lock(&lock);
	waiting++;
	pthread_cond_broadcast(&changed);
	while (!released)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	begin = thread_ns();
	bodies[w->index % 4](w);
	w->total = thread_ns() - begin;
	pthread_mutex_lock(&lock);
	finished++;
	pthread_cond_broadcast(&changed);
	while (!ending)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void *new_thread(void *arg)
{
	struct work *w = arg;

	bodies[w->index % 4](w);
	w->total = thread_ns();
	pthread_mutex_lock(&lock);
	finished++;
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void *brief_thread(void *arg)
{
	work_alpha(*(const uint64_t *)arg);
	atomic_fetch_add(&sum_total, thread_ns());
	return NULL;
}

static void read_line(void)
{
	char c = 0;

	while (read(0, &c, 1) == 1 && c != '\n')
		;
}

/* True when the line "stop" has come; waits for it that long. */
static int told_to_stop(int ms)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };

	if (stopped || poll(&in, 1, ms) != 1)
		return stopped;
	read_line();
	return stopped = 1;
}

static void wait_for_work(int n)
{
	int left;

	do {
		told_to_stop(stopped ? 0 : 20);
		pthread_mutex_lock(&lock);
		left = finished < n;
		pthread_mutex_unlock(&lock);
		if (left && stopped)
			usleep(1000);
	} while (left);
}

static void say(const char *word)
{
	puts(word);
	fflush(stdout);
}

static uint64_t main_begin;

static void go(void)
{
	say("ready");
	read_line();
	main_begin = thread_ns();
}

static void say_main(void)
{
	printf("0 0 %llu\n", (unsigned long long)(thread_ns() - main_begin));
}

static void make(pthread_t *t, void *(*routine)(void *), void *arg)
{
	int err = pthread_create(t, NULL, routine, arg);

	if (err) {
		fprintf(stderr, "pthread_create: %s\n", strerror(err));
		exit(3);
	}
}

static void many(uint64_t n, uint64_t ns, unsigned width)
{
	pthread_t *threads = calloc(width, sizeof(*threads));
	uint64_t made = 0;

	go();
	for (; made < n && !told_to_stop(0); made += width) {
		unsigned now = n - made < width ? (unsigned)(n - made) : width;

		for (unsigned k = 0; k < now; k++)
			make(&threads[k], brief_thread, &ns);
		for (unsigned k = 0; k < now; k++)
			pthread_join(threads[k], NULL);
	}
	if (made > n)
		made = n;
	printf("%llu 0 %llu\n", (unsigned long long)made, (unsigned long long)sum_total);
	free(threads);
}

static void known(int pool, int n, uint64_t ns)
{
	pthread_t *threads = calloc((size_t)n, sizeof(*threads));
	struct work *work = calloc((size_t)n, sizeof(*work));

	for (int i = 0; i < n; i++)
		work[i] = (struct work){ .index = i, .ns = ns, .random = (uint64_t)getpid() * 97 + (uint64_t)i };
	if (pool) {
		for (int i = 0; i < n; i++)
			make(&threads[i], pool_thread, &work[i]);
		pthread_mutex_lock(&lock);
		while (waiting < n)
			pthread_cond_wait(&changed, &lock);
		pthread_mutex_unlock(&lock);
	}
	go();
	if (pool) {
		pthread_mutex_lock(&lock);
		released = 1;
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&lock);
		wait_for_work(n);
	} else {
		for (int i = 0; i < n; i++)
			make(&threads[i], new_thread, &work[i]);
		wait_for_work(n);
		for (int i = 0; i < n; i++)
			pthread_join(threads[i], NULL);
	}
	for (int i = 0; i < n; i++)
		printf("%llu %llu %llu %u %u\n", (unsigned long long)work[i].alpha,
		       (unsigned long long)work[i].beta, (unsigned long long)work[i].total,
		       work[i].alphas, work[i].betas);
	say_main();
	say("done");
	if (!stopped)
		read_line();
	read_line();
	if (pool) {
		pthread_mutex_lock(&lock);
		ending = 1;
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&lock);
		for (int i = 0; i < n; i++)
			pthread_join(threads[i], NULL);
	}
	free(threads);
	free(work);
}

int main(int argc, char **argv)
{

	alarm(300); /* never outlive a test that went wrong */
	if (argc < 4)
		return 2;
	if (!strcmp(argv[1], "many")) {
		many(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10) * 1000,
		     argc > 4 ? (unsigned)atoi(argv[4]) : 4);
		say_main();
		say("done");
		if (!stopped)
			read_line();
		read_line();
		return 0;
	}
	known(!strcmp(argv[1], "pool"), atoi(argv[2]), strtoull(argv[3], NULL, 10) * 1000000);
	return 0;
}
