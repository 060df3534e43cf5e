/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soak LIBRARY...: a server's day, fast: threads that begin, work and end, libraries that are loaded,
 * called and unloaded, children, blocks and locks, without end. Each line of stdin is answered with
 * "threads N loads N children N": how many there were. Ends at the end of stdin.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static _Atomic unsigned long threads, loads, children;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char **libraries;
static int count;

static void *short_life(void *arg)
{
	void *blocks[32];
	volatile unsigned sum = 0;

	for (size_t i = 0; i < 32; i++)
		blocks[i] = malloc(100 + i * 400);
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < 20000; i++)
		sum += i;
	pthread_mutex_unlock(&lock);
	for (size_t i = 0; i < 32; i++)
		free(blocks[i]);
	atomic_fetch_add(&threads, 1);
	return arg;
}

static void *begins_threads(void *arg)
{
	for (;;) {
		pthread_t some[8];
		int n = 0;

		while (n < 8 && pthread_create(&some[n], NULL, short_life, NULL) == 0)
			n++;
		while (n > 0)
			pthread_join(some[--n], NULL);
		usleep(10000);
	}
	return arg;
}

static void *loads_libraries(void *arg)
{
	for (int i = 0;; i = (i + 1) % count) {
		void *library = dlopen(libraries[i], RTLD_NOW);
		int (*number)(void) = library ? (int (*)(void))dlsym(library, "inner_number") : NULL;

		if (!number || number() != 7)
			abort();
		dlclose(library);
		atomic_fetch_add(&loads, 1);
		usleep(5000);
	}
	return arg;
}

static void *forks(void *arg)
{
	for (;;) {
		pid_t child = fork();

		if (child == 0)
			_exit(3);
		if (child > 0 && waitpid(child, NULL, 0) == child)
			atomic_fetch_add(&children, 1);
		usleep(100000);
	}
	return arg;
}

static void *allocates(void *arg)
{
	void *ring[256] = { NULL };

	for (size_t i = 0;; i++) {
		free(ring[i % 256]);
		ring[i % 256] = malloc(1 + i * 7919 % 30000);
		pthread_mutex_lock(&lock);
		pthread_mutex_unlock(&lock);
		if (i % 64 == 0)
			usleep(2000);
	}
	return arg;
}

int main(int argc, char **argv)
{
	void *(*const kinds[])(void *) = { begins_threads, loads_libraries, forks, allocates, allocates };
	char line[16];
	pthread_t one;

	libraries = argv + 1;
	count = argc - 1;
	mallopt(M_ARENA_MAX, 1); /* what libc keeps for itself shall not grow by chance */
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (pthread_create(&one, NULL, kinds[i], NULL) != 0)
			return 2;
	while (fgets(line, sizeof(line), stdin)) {
		printf("threads %lu loads %lu children %lu\n", atomic_load(&threads), atomic_load(&loads),
		       atomic_load(&children));
		fflush(stdout);
	}
	return 0;
}
