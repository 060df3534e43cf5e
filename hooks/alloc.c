/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocation functions. Pure wrapping: pointer, size, alignment and errno are the real ones'.
 * Blocks of hooks/boot.c are recognised wherever a block can come back.
 *
 * Each hook is a countdown (allocations), a bit test (releases) and a tail call; what happens to the
 * few sampled blocks stands in a function of its own, out of the way. A sample leaves the books
 * before the real function gets the block: afterwards its address may belong to another thread
 * (hazard B9).
 *
 * Context: hook.
 */
#include <errno.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/collect/heap.h"
#include "hooks/boot.h"
#include "hooks/real.h"

static NOINLINE void *malloc_due(size_t size)
{
	int draw = heap_draw(size);
	void *ptr = real.malloc(size);

	if (draw != HEAP_SKIP)
		heap_on_alloc(ptr, size, draw);
	return ptr;
}

EXPORT void *malloc(size_t size)
{
	if (UNLIKELY(heap_due(size)))
		return malloc_due(size);
	return real.malloc(size);
}

static NOINLINE void *calloc_due(size_t n, size_t size)
{
	int draw = heap_draw(n * size);
	void *ptr = real.calloc(n, size);

	if (draw != HEAP_SKIP)
		heap_on_alloc(ptr, n * size, draw);
	return ptr;
}

/* A product that overflows makes the real call fail: then nothing is recorded. */
EXPORT void *calloc(size_t n, size_t size)
{
	if (UNLIKELY(heap_due(n * size)))
		return calloc_due(n, size);
	return real.calloc(n, size);
}

static NOINLINE void free_maybe(void *ptr)
{
	struct live sample;

	/* what the real free will read, and what we look at first: two misses at a time */
	__builtin_prefetch((const char *)ptr - 16, 1);
	if (boot_owns(ptr))
		return;
	if (heap_take(ptr, &sample))
		heap_freed(&sample);
	real.free(ptr);
}

EXPORT void free(void *ptr)
{
	if (UNLIKELY(livemap_maybe(ptr)))
		free_maybe(ptr);
	else
		real.free(ptr);
}

/*
 * Other names of free: C23's, and one that glibc keeps for old programs only. The size that the caller
 * promises is no more than a hint.
 */
void free_sized(void *ptr, size_t size);
void free_aligned_sized(void *ptr, size_t align, size_t size);

EXPORT void free_sized(void *ptr, size_t size)
{
	free(ptr);
}

EXPORT void free_aligned_sized(void *ptr, size_t align, size_t size)
{
	free(ptr);
}

#ifdef __x86_64__
void cfree_old(void *ptr);
__asm__(".symver cfree_old, cfree@GLIBC_2.2.5, remove");

EXPORT void cfree_old(void *ptr)
{
	free(ptr);
}
#endif

/*
 * realloc is a free and an allocation: the old sample leaves the books before the call and comes back
 * when the call fails. realloc(p, 0) that gives NULL has freed (glibc).
 */
static NOINLINE void *realloc_maybe(void *ptr, size_t size, bool due)
{
	int draw = due ? heap_draw(size) : HEAP_SKIP;
	struct live old;
	bool had;
	void *result;

	if (boot_owns(ptr))
		return boot_realloc(ptr, size, malloc);
	had = livemap_maybe(ptr) && heap_take(ptr, &old);
	result = real.realloc(ptr, size);
	if (had && !result && size)
		heap_restore(&old);
	else if (had)
		heap_freed(&old);
	if (draw != HEAP_SKIP)
		heap_on_alloc(result, size, draw);
	return result;
}

EXPORT void *realloc(void *ptr, size_t size)
{
	bool due = heap_due(size);

	if (UNLIKELY(due || livemap_maybe(ptr)))
		return realloc_maybe(ptr, size, due);
	return real.realloc(ptr, size);
}

/* Those of glibc and musl call realloc by its public name, that is, the hook above; so this one goes
 * there at once, lest such a block be counted twice. */
EXPORT void *reallocarray(void *ptr, size_t n, size_t size)
{
	size_t bytes;

	if (UNLIKELY(__builtin_mul_overflow(n, size, &bytes))) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(ptr, bytes);
}

static NOINLINE int posix_memalign_due(void **out, size_t align, size_t size)
{
	int draw = heap_draw(size);
	int err = real.posix_memalign(out, align, size);

	if (draw != HEAP_SKIP && !err)
		heap_on_alloc(*out, size, draw);
	return err;
}

EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
	if (UNLIKELY(heap_due(size)))
		return posix_memalign_due(out, align, size);
	return real.posix_memalign(out, align, size);
}

/* aligned_alloc and memalign: one signature, two real functions. */
static NOINLINE void *aligned_due(void *(*allocate)(size_t, size_t), size_t align, size_t size)
{
	int draw = heap_draw(size);
	void *ptr = allocate(align, size);

	if (draw != HEAP_SKIP)
		heap_on_alloc(ptr, size, draw);
	return ptr;
}

EXPORT void *aligned_alloc(size_t align, size_t size)
{
	if (UNLIKELY(heap_due(size)))
		return aligned_due(real.aligned_alloc, align, size);
	return real.aligned_alloc(align, size);
}

EXPORT void *memalign(size_t align, size_t size)
{
	if (UNLIKELY(heap_due(size)))
		return aligned_due(real.memalign, align, size);
	return real.memalign(align, size);
}

/* valloc and pvalloc likewise. */
static NOINLINE void *paged_due(void *(*allocate)(size_t), size_t size)
{
	int draw = heap_draw(size);
	void *ptr = allocate(size);

	if (draw != HEAP_SKIP)
		heap_on_alloc(ptr, size, draw);
	return ptr;
}

EXPORT void *valloc(size_t size)
{
	if (UNLIKELY(heap_due(size)))
		return paged_due(real.valloc, size);
	return real.valloc(size);
}

EXPORT void *pvalloc(size_t size)
{
	if (UNLIKELY(heap_due(size)))
		return paged_due(real.pvalloc, size);
	return real.pvalloc(size);
}

/* The address of `malloc` as written in this file is what the loader found first, which may be
 * somebody else's; the alias is ours. */
static __typeof__(malloc) own_malloc __attribute__((alias("malloc"), malloc, nothrow));
static char rival[256];

void real_find_rival(void)
{
	void *first = dlsym(RTLD_DEFAULT, "malloc");
	Dl_info info;

	if (!first || first == (void *)own_malloc || !dladdr(first, &info) || !info.dli_fname)
		return;
	strncpy(rival, info.dli_fname[0] ? info.dli_fname : "the program itself", sizeof(rival) - 1);
}

const char *real_rival(void)
{
	return rival[0] ? rival : NULL;
}
