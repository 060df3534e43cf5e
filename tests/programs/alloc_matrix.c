/* SPDX-License-Identifier: Apache-2.0 */
/* CFLAGS: -fno-builtin -Wno-deprecated-declarations */
/*
 * Every allocation function with every way to release or resize its block, over sizes and alignments.
 * Prints what a caller can see (result, alignment, usable size, contents, errno), never an address:
 * the output must be the same with and without the agent.
 */
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t sizes[] = { 0,	1,	7,	  8,	     15,	 16,
				17,	24,	25,	  100,	     1000,	 4095,
				4096,	4097,	65536,	  131072,    1 << 20,	 (16 << 20) + 3,
				PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX / 4 * 3, SIZE_MAX - 64,
				SIZE_MAX };
static const size_t aligns[] = { 0, 1, 2, 3, 4, 8, 16, 24, 32, 64, 4096, 65536, 1 << 20, (size_t)1 << 62 };
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]), ALIGNS = sizeof(aligns) / sizeof(aligns[0]) };
enum { STAYS = 4242 }; /* errno before each call */

enum maker { MALLOC, CALLOC, REALLOC_NULL, REALLOCARRAY_NULL, VALLOC, PVALLOC, POSIX, ALIGNED, MEMALIGN, MAKERS };
static const char *const names[] = { "malloc", "calloc", "realloc", "reallocarray", "valloc",
				     "pvalloc", "posix_memalign", "aligned_alloc", "memalign" };
static int last_result;

static void *make(enum maker m, size_t align, size_t size)
{
	void *p = (void *)(uintptr_t)0x1;

	last_result = 0;
	errno = STAYS;
	switch (m) {
	case MALLOC:
		return malloc(size);
	case CALLOC:
		return calloc(size % 3 ? 1 : 3, size % 3 ? size : size / 3);
	case REALLOC_NULL:
		return realloc(NULL, size);
	case REALLOCARRAY_NULL:
		return reallocarray(NULL, size % 2 ? 1 : 2, size % 2 ? size : size / 2);
	case VALLOC:
		return valloc(size);
	case PVALLOC:
		return pvalloc(size);
	case POSIX:
		last_result = posix_memalign(&p, align, size);
		return last_result ? NULL : p;
	case ALIGNED:
		return aligned_alloc(align, size);
	case MEMALIGN:
		return memalign(align, size);
	default:
		return NULL;
	}
}

static void show(const char *what, const void *p, size_t align, size_t size)
{
	int e = errno;

	printf("%s result=%d errno=%d null=%d", what, last_result, e, !p);
	if (p) {
		printf(" aligned=%d", align && (align & (align - 1)) == 0 ? (uintptr_t)p % align == 0 : -1);
		printf(" aligned16=%d usable=%d", (uintptr_t)p % 16 == 0,
		       malloc_usable_size((void *)(uintptr_t)p) >= size);
	}
	printf("\n");
}

static unsigned char pattern(size_t i)
{
	return (unsigned char)(i * 7 + i / 256);
}

/* All bytes of small blocks, some of large ones. */
static size_t next_of(size_t i)
{
	return i < 5000 ? i + 1 : i + 997;
}

static void fill(unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i = next_of(i))
		p[i] = pattern(i);
}

static int holds(const unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i = next_of(i))
		if (p[i] != pattern(i))
			return 0;
	return 1;
}

static int zeroed(const unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return 0;
	return 1;
}

/* Releases or resizes p in way number k; false: there is no such way. */
static int end(int k, unsigned char *p, size_t size)
{
	static const size_t to[] = { 1, 40, 5000, 300000, PTRDIFF_MAX, SIZE_MAX };
	size_t n;
	unsigned char *q;

	if (k == 0) {
		errno = STAYS;
		free(p);
		printf("  free errno=%d\n", errno);
		return 1;
	}
	if (k == 1) {
		errno = STAYS;
		q = realloc(p, 0);
		printf("  realloc 0 null=%d errno=%d\n", !q, errno);
		free(q);
		return 1;
	}
	if (k - 2 >= (int)(sizeof(to) / sizeof(to[0])) * 2)
		return 0;
	n = to[(k - 2) / 2];
	fill(p, size);
	errno = STAYS;
	q = k % 2 ? realloc(p, n) : n == 1 ? reallocarray(p, 1, 1) : reallocarray(p, n / 2, 2);
	printf("  resize %zu way %d null=%d errno=%d", n, k % 2, !q, errno);
	if (!q)
		q = p; /* the old block is alive */
	else if (!(k % 2) && n > 1)
		n = n / 2 * 2;
	printf(" holds=%d\n", holds(q, q == p && n > size ? size : n < size ? n : size));
	free(q);
	return 1;
}

static void try(enum maker m, size_t align, size_t size)
{
	char what[96];

	for (int k = 0;; k++) {
		unsigned char *p = make(m, align, size);

		snprintf(what, sizeof(what), "%s align=%zu size=%zu", names[m], align, size);
		if (k == 0) {
			show(what, p, align, size);
			if (p && m == CALLOC && size < 5000)
				printf("  zeroed=%d\n", zeroed(p, size));
		}
		if (!p)
			return;
		if (!end(k, p, size)) {
			free(p);
			return;
		}
	}
}

int main(void)
{
	volatile size_t huge = SIZE_MAX, wraps;

	setvbuf(stdout, malloc(1 << 16), _IOFBF, 1 << 16);
	errno = STAYS;
	free(NULL);
	printf("free(NULL) errno=%d\n", errno);
	for (int m = 0; m < MAKERS; m++)
		for (int s = 0; s < SIZES; s++) {
			if (m < POSIX) {
				try((enum maker)m, 0, sizes[s]);
				continue;
			}
			for (int a = 0; a < ALIGNS; a++)
				try((enum maker)m, aligns[a], sizes[s]);
		}
	errno = STAYS;
	printf("calloc overflow null=%d", !calloc(huge / 2, 3));
	printf(" errno=%d\n", errno);
	errno = STAYS;
	printf("reallocarray overflow null=%d", !reallocarray(NULL, huge / 2, 3));
	printf(" errno=%d\n", errno);
	errno = STAYS;
	wraps = ((size_t)1 << 63) + 1; /* twice that is 2 */
	printf("products that wrap null=%d,%d", !calloc(wraps, 2), !reallocarray(NULL, wraps, 2));
	printf(" errno=%d\n", errno);
	return 0;
}
