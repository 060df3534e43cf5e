/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The least that a preloaded profiler can be: malloc and free go through it, and nothing is done
 * there. With IDLE_THREAD in the environment it has a thread, too, that sleeps: the least that one with
 * a listener can be (malloc and stdio of a program with a second thread take locks).
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
	void *(*malloc)(size_t);
	void *(*calloc)(size_t, size_t);
	void *(*realloc)(void *, size_t);
	void (*free)(void *);
} real;

/* For the few calls before dlsym has answered. */
static char early[1 << 16] __attribute__((aligned(16)));
static size_t used;

static int is_early(const void *ptr)
{
	return (const char *)ptr >= early && (const char *)ptr < early + sizeof(early);
}

static void *early_malloc(size_t size)
{
	void *ptr = early + used;

	used += (size + 15) & ~(size_t)15;
	return used <= sizeof(early) ? ptr : NULL;
}

void *malloc(size_t size)
{
	if (__builtin_expect(!real.malloc, 0))
		return early_malloc(size);
	return real.malloc(size);
}

void *calloc(size_t n, size_t size)
{
	if (__builtin_expect(!real.calloc, 0))
		return early_malloc(n * size);
	return real.calloc(n, size);
}

void *realloc(void *ptr, size_t size)
{
	void *moved;

	if (__builtin_expect(real.realloc && !is_early(ptr), 1))
		return real.realloc(ptr, size);
	moved = malloc(size);
	if (ptr && moved)
		memcpy(moved, ptr, size < (size_t)(early + used - (char *)ptr) ? size : (size_t)(early + used - (char *)ptr));
	return moved;
}

void free(void *ptr)
{
	if (__builtin_expect(real.free && !is_early(ptr), 1))
		real.free(ptr);
}

static void *sleeper(void *arg)
{
	for (;;)
		pause();
	return arg;
}

__attribute__((constructor)) static void start(void)
{
	pthread_t thread;

	*(void **)&real.free = dlsym(RTLD_NEXT, "free");
	*(void **)&real.realloc = dlsym(RTLD_NEXT, "realloc");
	*(void **)&real.calloc = dlsym(RTLD_NEXT, "calloc");
	*(void **)&real.malloc = dlsym(RTLD_NEXT, "malloc");
	if (getenv("IDLE_THREAD") && !pthread_create(&thread, NULL, sleeper, NULL))
		pthread_detach(thread);
}
