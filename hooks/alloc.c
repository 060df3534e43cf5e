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

	if (boot_owns(ptr))
		return;
	if (heap_take(ptr, &sample))
		heap_freed(&sample);
	real.free(ptr);
}

EXPORT void free(void *ptr)
{
	if (UNLIKELY(boot_owns(ptr) || livemap_maybe(ptr)))
		free_maybe(ptr);
	else
		real.free(ptr);
}

/*
 * realloc is a free and an allocation. gone: a NULL result means that the block was freed
 * (realloc(p, 0) of glibc), not that the call failed.
 */
struct resize {
	struct live old;
	bool had;
	int draw;
};

static void resize_begin(struct resize *r, const void *ptr, size_t size, bool due)
{
	r->draw = due ? heap_draw(size) : HEAP_SKIP;
	r->had = livemap_maybe(ptr) && heap_take(ptr, &r->old);
}

static void resize_end(const struct resize *r, const void *result, size_t size, bool gone)
{
	if (r->had && !result && !gone)
		heap_restore(&r->old);
	else if (r->had)
		heap_freed(&r->old);
	if (r->draw != HEAP_SKIP)
		heap_on_alloc(result, size, r->draw);
}

static NOINLINE void *realloc_maybe(void *ptr, size_t size, bool due)
{
	struct resize r;
	void *result;

	if (boot_owns(ptr))
		return boot_realloc(ptr, size, malloc);
	resize_begin(&r, ptr, size, due);
	result = real.realloc(ptr, size);
	resize_end(&r, result, size, size == 0);
	return result;
}

EXPORT void *realloc(void *ptr, size_t size)
{
	bool due = heap_due(size);

	if (UNLIKELY(due || boot_owns(ptr) || livemap_maybe(ptr)))
		return realloc_maybe(ptr, size, due);
	return real.realloc(ptr, size);
}

static NOINLINE void *reallocarray_maybe(void *ptr, size_t n, size_t size, bool due)
{
	struct resize r;
	size_t bytes;
	bool overflow = __builtin_mul_overflow(n, size, &bytes);
	void *result;

	if (boot_owns(ptr)) {
		if (overflow) {
			errno = ENOMEM;
			return NULL;
		}
		return boot_realloc(ptr, bytes, malloc);
	}
	resize_begin(&r, ptr, bytes, due);
	result = real.reallocarray(ptr, n, size);
	resize_end(&r, result, bytes, bytes == 0 && !overflow);
	return result;
}

EXPORT void *reallocarray(void *ptr, size_t n, size_t size)
{
	bool due = heap_due(n * size);

	if (UNLIKELY(due || boot_owns(ptr) || livemap_maybe(ptr)))
		return reallocarray_maybe(ptr, n, size, due);
	return real.reallocarray(ptr, n, size);
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
