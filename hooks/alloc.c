/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocation functions. Pure wrapping: pointer, size, alignment and errno are the real ones'.
 * Blocks of hooks/boot.c are recognised wherever a block can come back.
 *
 * Context: hook.
 */
#include <errno.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/collect/process.h"
#include "hooks/boot.h"
#include "hooks/real.h"

EXPORT void *malloc(size_t size)
{
	return real.malloc(size);
}

EXPORT void *calloc(size_t n, size_t size)
{
	return real.calloc(n, size);
}

EXPORT void *realloc(void *ptr, size_t size)
{
	if (UNLIKELY(boot_owns(ptr)))
		return boot_realloc(ptr, size, real.malloc);
	return real.realloc(ptr, size);
}

EXPORT void *reallocarray(void *ptr, size_t n, size_t size)
{
	size_t bytes;

	if (UNLIKELY(boot_owns(ptr))) {
		if (__builtin_mul_overflow(n, size, &bytes)) {
			errno = ENOMEM;
			return NULL;
		}
		return boot_realloc(ptr, bytes, real.malloc);
	}
	return real.reallocarray(ptr, n, size);
}

EXPORT void free(void *ptr)
{
	if (UNLIKELY(boot_owns(ptr)))
		return;
	real.free(ptr);
}

EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
	return real.posix_memalign(out, align, size);
}

EXPORT void *aligned_alloc(size_t align, size_t size)
{
	return real.aligned_alloc(align, size);
}

EXPORT void *memalign(size_t align, size_t size)
{
	return real.memalign(align, size);
}

EXPORT void *valloc(size_t size)
{
	return real.valloc(size);
}

EXPORT void *pvalloc(size_t size)
{
	return real.pvalloc(size);
}
