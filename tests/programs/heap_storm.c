/* SPDX-License-Identifier: Apache-2.0 */
/* CFLAGS: -fno-builtin -O1 */
/*
 * heap_storm THREADS SECONDS [fork]: threads that allocate, resize and free at random, a third of it
 * by handing blocks to each other; with "fork" the main thread forks children that allocate and free.
 * A watchdog aborts when a thread makes no step for 20 s. At the end everything is freed, the
 * histogram of what single calls took is printed (powers of two of ns), then "done", and the program
 * waits for the end of stdin.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
enum { THREADS_MAX = 64, BOX = 4096, OWN = 64, BUCKETS = 40 };

static _Atomic(void *) box[BOX];
static _Atomic int stop;
static struct thread {
	pthread_t id;
	uint64_t random;
	_Atomic uint64_t steps;
	uint64_t took[BUCKETS];
	void *own[OWN];
} threads[THREADS_MAX];

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static NOINLINE void storm_step(struct thread *t)
{
	uint64_t r = t->random;
	size_t size;
	void **slot, *p;

	r ^= r << 13;
	r ^= r >> 7;
	r ^= r << 17;
	t->random = r;
	size = 1 + (r >> 8) % (r & 31 ? 256 : 70000);
	slot = &t->own[r >> 40 & (OWN - 1)];
	switch (r >> 50 & 7) {
	case 0:
		free(*slot);
		*slot = malloc(size);
		break;
	case 1:
		free(*slot);
		*slot = calloc(1, size);
		break;
	case 2:
		p = realloc(*slot, size);
		*slot = p ? p : *slot;
		break;
	case 3:
		free(*slot);
		*slot = NULL;
		break;
	case 4:
		p = NULL;
		if (posix_memalign(&p, 64, size) == 0)
			free(atomic_exchange(&box[r >> 20 & (BOX - 1)], p));
		break;
	case 5:
		p = *slot;
		*slot = NULL;
		free(atomic_exchange(&box[r >> 20 & (BOX - 1)], p));
		break;
	case 6:
		if (realloc(*slot, SIZE_MAX / 4))
			abort();
		break;
	default:
		p = atomic_exchange(&box[r >> 20 & (BOX - 1)], malloc(size));
		free(reallocarray(p, size, 2));
	}
}

static void *run(void *arg)
{
	struct thread *t = arg;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t before = cpu_ns(), took;

		storm_step(t);
		took = cpu_ns() - before;
		t->took[took ? 63 - __builtin_clzll(took) : 0]++;
		atomic_fetch_add_explicit(&t->steps, 1, memory_order_relaxed);
	}
	for (int i = 0; i < OWN; i++)
		free(t->own[i]);
	return NULL;
}

static void watch(int n, uint64_t *seen, time_t *when)
{
	for (int i = 0; i < n; i++) {
		uint64_t steps = atomic_load(&threads[i].steps);

		if (steps != seen[i]) {
			seen[i] = steps;
			when[i] = time(NULL);
		} else if (time(NULL) - when[i] > 20) {
			fprintf(stderr, "thread %d stands still\n", i);
			abort();
		}
	}
}

static void fork_one(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		alarm(20);
		for (int i = 0; i < 200; i++)
			free(malloc((size_t)i * 10));
		for (int i = 0; i < BOX; i++)
			free(box[i]);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status) {
		fprintf(stderr, "child ended with %x\n", status);
		abort();
	}
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 8, forks = argc > 3;
	time_t end = time(NULL) + (argc > 2 ? atoi(argv[2]) : 3), when[THREADS_MAX];
	uint64_t seen[THREADS_MAX] = { 0 }, took[BUCKETS] = { 0 }, steps = 0;

	for (int i = 0; i < n; i++) {
		when[i] = time(NULL);
		threads[i].random = (uint64_t)i * 7919 + 88172645463325252u;
		pthread_create(&threads[i].id, NULL, run, &threads[i]);
	}
	while (time(NULL) < end) {
		if (forks)
			fork_one();
		usleep(forks ? 5000 : 100000);
		watch(n, seen, when);
	}
	atomic_store(&stop, 1);
	for (int i = 0; i < n; i++) {
		pthread_join(threads[i].id, NULL);
		steps += threads[i].steps;
		for (int k = 0; k < BUCKETS; k++)
			took[k] += threads[i].took[k];
	}
	for (int i = 0; i < BOX; i++)
		free(box[i]);
	printf("steps %lu took", (unsigned long)steps);
	for (int k = 0; k < BUCKETS; k++)
		if (took[k])
			printf(" %d:%lu", k, (unsigned long)took[k]);
	printf("\ndone\n");
	fflush(stdout);
	while (read(0, &n, 1) > 0)
		;
	return 0;
}
