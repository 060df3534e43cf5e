/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CFLAGS: -fno-builtin
 * Calls what the agent wraps from a constructor, and from an IFUNC resolver, which the loader runs while
 * it still relocates: allocations of every kind, locks, a condition, threads that allocate. Loaded behind
 * the agent its constructor runs before the agent's. With EARLY_KEYS set it takes every thread-specific
 * key that there is.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 64, ROUNDS = 200 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int ready;
static void *from_resolver;

static int answer(void)
{
	return 42;
}

typedef int answer_fn(void);

static answer_fn *resolve(void)
{
	from_resolver = malloc(100);
	return answer;
}
int early_answer(void) __attribute__((ifunc("resolve")));

static void *work(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		char *p = calloc(1, (size_t)i * 7 + 1), *q;

		for (int k = 0; p && k < i * 7; k++)
			if (p[k])
				abort();
		q = realloc(p, 5000);
		if (!q)
			abort();
		free(q);
	}
	pthread_mutex_lock(&mutex);
	ready++;
	pthread_cond_signal(&cond);
	pthread_mutex_unlock(&mutex);
	return arg;
}

static void take_keys(void)
{
	pthread_key_t key;

	while (pthread_key_create(&key, NULL) == 0)
		;
}

static void __attribute__((constructor)) early(void)
{
	pthread_t threads[THREADS];
	void *aligned = NULL, *blocks[] = { malloc(0), malloc(1), malloc(100000), memalign(64, 100), NULL };
	static const char done[] = "early: done\n";

	if (posix_memalign(&aligned, 4096, 10) != 0 || (size_t)aligned % 4096)
		abort();
	for (int i = 0; i < 4; i++)
		if (!blocks[i])
			abort();
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, NULL) != 0)
			abort();
	pthread_mutex_lock(&mutex);
	while (ready < THREADS)
		pthread_cond_wait(&cond, &mutex);
	pthread_mutex_unlock(&mutex);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	if (early_answer() != 42 || !from_resolver || !dlopen("libm.so.6", RTLD_NOW))
		abort();
	free(from_resolver);
	free(aligned);
	for (int i = 0; i < 4; i++)
		free(realloc(blocks[i], 300));
	if (getenv("EARLY_KEYS"))
		take_keys();
	if (write(1, done, sizeof(done) - 1) < 0)
		abort();
}
