/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent's hooks add to a malloc/free pair, in one process: the program's malloc (which goes
 * through the agent when that is preloaded) against libc's own, chunk against chunk in random order.
 *
 *   bench_malloc [ROUNDS]     prints a line per case: ns of libc, added ns (median and quartiles over
 *                             the rounds of the difference within a round), ratio of medians
 *
 * Cases: a pair of 32 bytes; replacing a random one of N live blocks of 64 bytes; the pair with 1 to 8
 * threads; blocks freed by another thread; growth by realloc; blocks of 1 MiB. "floor" is libc
 * against itself: what a difference of that size means.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")

struct family {
	void *(*malloc)(size_t);
	void *(*realloc)(void *, size_t);
	void (*free)(void *);
};
enum { LIBC, LIBC_AGAIN, AGENT, FAMILIES, THREADS_MAX = 8, ROUNDS_MAX = 4000 };
static struct family families[FAMILIES];

struct work {
	int kind; /* index of cases[] */
	int rounds;
	uint64_t random;
	void **slots[FAMILIES];
	double ns[FAMILIES][ROUNDS_MAX];
};

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t next(struct work *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	return w->random ^= w->random << 17;
}

static int pair(struct work *w, int f)
{
	const struct family *m = &families[f];

	for (int i = 0; i < 4000; i++) {
		void *p = m->malloc(32);

		KEEP(p);
		m->free(p);
	}
	return 4000;
}

static size_t live_blocks;
static int live(struct work *w, int f)
{
	const struct family *m = &families[f];

	for (int i = 0; i < 2000; i++) {
		size_t k = (next(w) >> 20) % live_blocks;
		uint64_t *p;

		m->free(w->slots[f][k]);
		p = m->malloc(64);
		*p = k;
		w->slots[f][k] = p;
	}
	return 2000;
}

static int grow(struct work *w, int f)
{
	const struct family *m = &families[f];

	for (int i = 0; i < 100; i++) {
		void *p = NULL;

		for (size_t n = 16; n <= 65536; n *= 2) {
			p = m->realloc(p, n);
			KEEP(p);
		}
		m->free(p);
	}
	return 1300;
}

static int large(struct work *w, int f)
{
	const struct family *m = &families[f];

	for (int i = 0; i < 20; i++) {
		char *p = m->malloc(1 << 20);

		p[0] = p[5000] = 1;
		KEEP(p);
		m->free(p);
	}
	return 20;
}

/* Half of the threads allocate, the other half free: a ring for each couple and family. */
enum { RING = 256 };
static struct ring {
	_Atomic(void *) at[RING];
} rings[THREADS_MAX / 2][FAMILIES];

static int cross(struct work *w, int f)
{
	const struct family *m = &families[f];
	int index = (int)(w->random & 7);
	struct ring *ring = &rings[index / 2][f];

	for (int i = 0; i < 4000; i++) {
		_Atomic(void *) *slot = &ring->at[i % RING];
		void *p;

		if (index % 2) {
			while (!(p = __atomic_exchange_n((void **)slot, NULL, __ATOMIC_ACQ_REL)))
				__builtin_ia32_pause();
			m->free(p);
		} else {
			p = m->malloc(100);
			while (__atomic_load_n((void **)slot, __ATOMIC_RELAXED))
				__builtin_ia32_pause();
			__atomic_store_n((void **)slot, p, __ATOMIC_RELEASE);
		}
	}
	return 4000;
}

static const struct {
	const char *name;
	int (*chunk)(struct work *w, int family);
	size_t live;
	int threads;
	int rounds; /* of 1000 */
} cases[] = {
	{ "pair of 32 B", pair, 0, 1, 1000 },
	{ "1,000 live", live, 1000, 1, 1000 },
	{ "100,000 live", live, 100000, 1, 300 },
	{ "1,000,000 live", live, 1000000, 1, 300 },
	{ "pair, 2 threads", pair, 0, 2, 300 },
	{ "pair, 4 threads", pair, 0, 4, 300 },
	{ "pair, 8 threads", pair, 0, 8, 300 },
	{ "freed by another thread", cross, 0, 2, 300 },
	{ "realloc 16 B to 64 KiB", grow, 0, 1, 300 },
	{ "1 MiB", large, 0, 1, 300 },
};
static pthread_barrier_t barrier;

static void one_round(struct work *w, int round)
{
	int order[FAMILIES] = { 0, 1, 2 };

	for (int i = FAMILIES - 1; i > 0; i--) {
		/* the same for all threads: they meet in cross() */
		int k = (round * 7 + i * 5 + round / 3) % (i + 1), t = order[i];

		order[i] = order[k];
		order[k] = t;
	}
	for (int i = 0; i < FAMILIES; i++) {
		int f = order[i], ops;
		uint64_t before;

		if (cases[w->kind].threads > 1)
			pthread_barrier_wait(&barrier);
		before = now();
		ops = cases[w->kind].chunk(w, f);
		if (round >= 0)
			w->ns[f][round] = (double)(now() - before) / ops;
	}
}

static void *run(void *arg)
{
	struct work *w = arg;

	for (int round = -3; round < w->rounds; round++)
		one_round(w, round < 0 ? -1 : round);
	return NULL;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void report(const struct work *works, int threads, int f, const char *name)
{
	static double base[THREADS_MAX * ROUNDS_MAX], diff[THREADS_MAX * ROUNDS_MAX];
	int n = 0;

	for (int t = 0; t < threads; t++)
		for (int r = 0; r < works[t].rounds; r++, n++) {
			base[n] = works[t].ns[LIBC][r];
			diff[n] = works[t].ns[f][r] - base[n];
		}
	qsort(base, (size_t)n, sizeof(*base), compare);
	qsort(diff, (size_t)n, sizeof(*diff), compare);
	printf("%-26s %-6s %10.2f %+9.2f [%+8.2f %+8.2f]  %.3f\n", name, f == AGENT ? "agent" : "floor",
	       base[n / 2], diff[n / 2], diff[n / 4], diff[3 * n / 4],
	       (base[n / 2] + diff[n / 2]) / base[n / 2]);
}

static void run_case(int kind, int rounds)
{
	static struct work works[THREADS_MAX];
	pthread_t threads[THREADS_MAX];
	int n = cases[kind].threads;

	live_blocks = cases[kind].live;
	pthread_barrier_init(&barrier, NULL, (unsigned)n);
	for (int t = 0; t < n; t++) {
		works[t].kind = kind;
		works[t].rounds = rounds * cases[kind].rounds / 1000;
		works[t].random = 88172645463325248u + (uint64_t)t;
		for (int f = 0; f < FAMILIES && live_blocks; f++) {
			works[t].slots[f] = malloc(live_blocks * sizeof(void *));
			for (size_t i = 0; i < live_blocks; i++)
				works[t].slots[f][i] = families[f].malloc(64);
		}
		if (n > 1)
			pthread_create(&threads[t], NULL, run, &works[t]);
	}
	if (n == 1)
		run(&works[0]);
	for (int t = 0; t < n && n > 1; t++)
		pthread_join(threads[t], NULL);
	report(works, n, LIBC_AGAIN, cases[kind].name);
	report(works, n, AGENT, cases[kind].name);
	for (int t = 0; t < n; t++)
		for (int f = 0; f < FAMILIES && live_blocks; f++) {
			for (size_t i = 0; i < live_blocks; i++)
				families[f].free(works[t].slots[f][i]);
			free(works[t].slots[f]);
		}
	pthread_barrier_destroy(&barrier);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	void *libc = dlopen("libc.so.6", RTLD_NOW);
	int rounds = argc > 1 ? atoi(argv[1]) : 1000;

	if (!libc || rounds < 10 || rounds > ROUNDS_MAX)
		return 2;
	families[LIBC] = (struct family){ (void *(*)(size_t))dlsym(libc, "malloc"),
					  (void *(*)(void *, size_t))dlsym(libc, "realloc"),
					  (void (*)(void *))dlsym(libc, "free") };
	families[LIBC_AGAIN] = families[LIBC];
	families[AGENT] = (struct family){ malloc, realloc, free };
	if (families[AGENT].malloc == families[LIBC].malloc)
		printf("# the agent is not preloaded: this compares libc with itself\n");
	printf("%-26s %-6s %10s %9s [%8s %8s]  %s\n", "case", "what", "libc ns", "added", "quarter",
	       "quarter", "ratio");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run_case((int)i, rounds);
	return 0;
}
