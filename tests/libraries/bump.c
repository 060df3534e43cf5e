/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CFLAGS: -fno-builtin
 * An allocator that signal handlers may call, and leave by a jump: blocks are cut off one region by one atomic
 * addition and never used again. With it a program may allocate where libc's own would deadlock.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { HEAD = 16 };

static _Atomic uintptr_t next;
static const size_t region = (size_t)1 << 36;

static void *cut(size_t align, size_t size)
{
	uintptr_t at = atomic_load(&next), base, none = 0;

	if (!at) {
		void *fresh = mmap(NULL, region, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (fresh == MAP_FAILED)
			return NULL;
		if (!atomic_compare_exchange_strong(&next, &none, (uintptr_t)fresh))
			munmap(fresh, region);
	}
	if (align < 16)
		align = 16;
	base = (atomic_fetch_add(&next, size + align + 2 * HEAD) + HEAD + align - 1) & ~(align - 1);
	*(size_t *)(base - HEAD) = size;
	return (void *)base;
}

void *malloc(size_t size)
{
	return cut(16, size);
}

void free(void *ptr)
{
}

void *calloc(size_t n, size_t size)
{
	return n && size > SIZE_MAX / n ? NULL : cut(16, n * size);
}

void *realloc(void *ptr, size_t size)
{
	void *fresh = cut(16, size);
	size_t old = ptr ? *(size_t *)((char *)ptr - HEAD) : 0;

	return ptr && fresh ? memcpy(fresh, ptr, old < size ? old : size) : fresh;
}

void *memalign(size_t align, size_t size)
{
	return cut(align, size);
}

void *aligned_alloc(size_t align, size_t size)
{
	return cut(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
	*out = cut(align, size);
	return *out ? 0 : ENOMEM;
}
