/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/boot.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/collect/livemap.h"

/* Before each block, so that realloc knows how much there is to copy. */
struct boot_block {
	size_t size;
	size_t pad;
};

char boot_pool[BOOT_POOL_SIZE] __attribute__((aligned(64))) BIG;
static _Atomic size_t boot_used;

void *boot_aligned(size_t align, size_t size)
{
	size_t before, start, end;

	if (align < 16)
		align = 16;
	if ((align & (align - 1)) || align > BOOT_POOL_SIZE || size > BOOT_POOL_SIZE) {
		errno = align & (align - 1) ? EINVAL : ENOMEM;
		return NULL;
	}
	before = atomic_load_explicit(&boot_used, memory_order_relaxed);
	do {
		start = ALIGN_UP((uintptr_t)boot_pool + before + sizeof(struct boot_block), align) -
			(uintptr_t)boot_pool;
		end = ALIGN_UP(start + size, (size_t)16);
		if (end > BOOT_POOL_SIZE) {
			errno = ENOMEM;
			return NULL;
		}
	} while (!atomic_compare_exchange_weak_explicit(&boot_used, &before, end, memory_order_relaxed,
							memory_order_relaxed));
	((struct boot_block *)(boot_pool + start))[-1].size = size;
	livemap_pin(boot_pool + start);
	return boot_pool + start;
}

void *boot_malloc(size_t size)
{
	return boot_aligned(16, size);
}

/* The pool is zero-initialised and never reused: its blocks are zeroed as they are. */
void *boot_calloc(size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return boot_malloc(bytes);
}

int boot_posix_memalign(void **out, size_t align, size_t size)
{
	int keep = errno;
	void *ptr;

	if (align % sizeof(void *) || !align || (align & (align - 1)))
		return EINVAL;
	ptr = boot_aligned(align, size);
	errno = keep;
	if (!ptr)
		return ENOMEM;
	*out = ptr;
	return 0;
}

size_t boot_usable(const void *ptr)
{
	return ((const struct boot_block *)ptr)[-1].size;
}

void *boot_realloc(void *ptr, size_t size, void *(*grow)(size_t))
{
	size_t have;
	void *fresh;

	if (!ptr)
		return grow(size);
	have = boot_usable(ptr);
	if (size <= have && size)
		return ptr;
	if (!size)
		return NULL; /* glibc's realloc(p, 0): freed */
	fresh = grow(size);
	if (fresh)
		memcpy(fresh, ptr, have < size ? have : size);
	return fresh;
}
