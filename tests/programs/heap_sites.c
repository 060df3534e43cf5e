/* SPDX-License-Identifier: Apache-2.0 */
/* CFLAGS: -fno-builtin -O1 */
/*
 * Allocates known numbers of known sizes in known functions.
 *
 *   heap_sites THREADS ROUNDS
 *
 * Prints a line "NAME objects bytes live_objects live_bytes" per function, then "ready". Each line on
 * stdin is a command: "free" releases everything (blocks are freed by another thread than the one
 * that allocated them) and prints "freed"; "release" does so by all functions that give a block back; "fork" prints what the status of a child is that frees all
 * it inherited; the end of stdin ends it.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")

/* Other names of free, where libc or the agent has them. */
void free_sized(void *p, size_t size) __attribute__((weak));
void free_aligned_sized(void *p, size_t align, size_t size) __attribute__((weak));
#if defined(__x86_64__) && defined(__GLIBC__)
void old_cfree(void *p);
__asm__(".symver old_cfree, cfree@GLIBC_2.2.5");
#else
#define old_cfree free
#endif

static void release(void *p, int way)
{
	if (way == 1)
		old_cfree(p);
	else if (way == 2 && free_sized)
		free_sized(p, malloc_usable_size(p));
	else if (way == 3 && free_aligned_sized)
		free_aligned_sized(p, 16, malloc_usable_size(p));
	else
		free(p);
}

struct count {
	int64_t objects, bytes, live_objects, live_bytes;
};
enum { SITES = 8, THREADS_MAX = 64 };
static const char *const names[SITES] = { "site_tiny", "site_small", "site_odd", "site_near", "site_big",
					  "site_huge", "site_grow", "site_tail" };
struct worker {
	pthread_t thread;
	uint64_t random;
	int rounds;
	struct count counts[SITES];
	void **kept;
	int n_kept, room;
};
static struct worker workers[THREADS_MAX];
static int n_workers, many_ways;

static void *count_one(struct worker *w, int site, size_t size, void *p)
{
	w->counts[site].objects++;
	w->counts[site].bytes += (int64_t)size;
	KEEP(p);
	return p;
}

/* A fixed part stays; the rest is freed at once. */
static void keep_or_free(struct worker *w, int site, size_t size, void *p, int keep)
{
	if (!keep) {
		free(p);
		return;
	}
	w->counts[site].live_objects++;
	w->counts[site].live_bytes += (int64_t)size;
	w->kept[w->n_kept++] = p;
}

static NOINLINE void *site_tiny(size_t n)
{
	void *p = malloc(n);

	KEEP(p);
	return p;
}
static NOINLINE void *site_small(size_t n)
{
	void *p = calloc(1, n);

	KEEP(p);
	return p;
}
static NOINLINE void *site_odd(size_t n)
{
	void *p = NULL;

	if (posix_memalign(&p, 64, n))
		abort();
	KEEP(p);
	return p;
}
static NOINLINE void *site_near(size_t n)
{
	void *p = aligned_alloc(32, n);

	KEEP(p);
	return p;
}
static NOINLINE void *site_big(size_t n)
{
	void *p = malloc(n);

	KEEP(p);
	return p;
}
static NOINLINE void *site_huge(size_t n)
{
	void *p = malloc(n);

	KEEP(p);
	return p;
}
static NOINLINE void *site_grow(void *p, size_t n)
{
	p = realloc(p, n);
	KEEP(p);
	return p;
}
static NOINLINE void *site_tail(size_t n)
{
	void *p = malloc(n);

	KEEP(p);
	return p;
}

static uint64_t next(struct worker *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	return w->random ^= w->random << 17;
}

static void one_round(struct worker *w, int i)
{
	size_t size;
	void *p;

	for (int k = 0; k < 8; k++)
		keep_or_free(w, 0, 24, count_one(w, 0, 24, site_tiny(24)), k == 0);
	for (int k = 0; k < 4; k++)
		keep_or_free(w, 1, 112, count_one(w, 1, 112, site_small(112)), k == 1);
	keep_or_free(w, 2, 1000, count_one(w, 2, 1000, site_odd(1000)), i % 2);
	keep_or_free(w, 3, 4096, count_one(w, 3, 4096, site_near(4096)), i % 4 == 0);
	if (i % 8 == 0)
		keep_or_free(w, 4, 70000, count_one(w, 4, 70000, site_big(70000)), i % 64 == 0);
	if (i % 256 == 0)
		keep_or_free(w, 5, 16 << 20, count_one(w, 5, 16 << 20, site_huge(16 << 20)), 0);
	p = NULL;
	for (size = 64; size <= 1024; size *= 2)
		p = count_one(w, 6, size, site_grow(p, size));
	keep_or_free(w, 6, 1024, p, i % 4 == 1);
	size = 16;
	for (uint64_t r = next(w); r & 1 && size < (1 << 20); r >>= 1)
		size *= 2;
	size += next(w) % size;
	keep_or_free(w, 7, size, count_one(w, 7, size, site_tail(size)), i % 3 == 0);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < w->rounds; i++)
		one_round(w, i);
	return NULL;
}

static void *free_kept(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < w->n_kept; i++)
		release(w->kept[i], many_ways ? i % 4 : 0);
	return NULL;
}

static void run_all(void *(*routine)(void *), int shift)
{
	for (int i = 0; i < n_workers; i++)
		if (pthread_create(&workers[i].thread, NULL, routine, &workers[(i + shift) % n_workers]))
			abort();
	for (int i = 0; i < n_workers; i++)
		pthread_join(workers[i].thread, NULL);
}

static void fork_one(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		for (int i = 0; i < n_workers; i++)
			free_kept(&workers[i]);
		for (int i = 0; i < 1000; i++)
			free(malloc(1000));
		_exit(0);
	}
	waitpid(pid, &status, 0);
	printf("child %d\n", status);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char line[32];

	n_workers = argc > 1 ? atoi(argv[1]) : 1;
	for (int i = 0; i < n_workers; i++) {
		workers[i].rounds = argc > 2 ? atoi(argv[2]) : 1000;
		workers[i].random = (uint64_t)i * 1000003 + 88172645463325252u;
		workers[i].room = workers[i].rounds * 6 + 8;
		workers[i].kept = malloc((size_t)workers[i].room * sizeof(void *));
	}
	run_all(work, 0);
	for (int s = 0; s < SITES; s++) {
		struct count sum = { 0, 0, 0, 0 };

		for (int i = 0; i < n_workers; i++) {
			sum.objects += workers[i].counts[s].objects;
			sum.bytes += workers[i].counts[s].bytes;
			sum.live_objects += workers[i].counts[s].live_objects;
			sum.live_bytes += workers[i].counts[s].live_bytes;
		}
		printf("%s %ld %ld %ld %ld\n", names[s], (long)sum.objects, (long)sum.bytes,
		       (long)sum.live_objects, (long)sum.live_bytes);
	}
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		many_ways = !strcmp(line, "release\n");
		if (many_ways || !strcmp(line, "free\n")) {
			run_all(free_kept, 1);
			for (int i = 0; i < n_workers; i++)
				workers[i].n_kept = 0;
			printf("freed\n");
			fflush(stdout);
		} else if (!strcmp(line, "fork\n")) {
			fork_one();
		}
	}
	return 0;
}
