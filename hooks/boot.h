/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for the moment in which the real malloc is being looked up: a lookup may itself allocate
 * (a preload in front of us, an error string). A bump pool in zero-initialised storage; nothing is
 * given back, and its pointers are recognised for ever: livemap_maybe() is true for each, so that
 * the path of every other free need not ask for them.
 *
 * Context: hook, init.
 */
#ifndef HOOKS_BOOT_H
#define HOOKS_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BOOT_POOL_SIZE = 128 << 10 };
extern char boot_pool[BOOT_POOL_SIZE] __attribute__((visibility("hidden")));

static inline bool boot_owns(const void *ptr)
{
	return (uintptr_t)ptr - (uintptr_t)boot_pool < BOOT_POOL_SIZE;
}

/* malloc's contract, alignment 16; NULL with ENOMEM when the pool is spent. */
void *boot_malloc(size_t size);
void *boot_calloc(size_t n, size_t size);
void *boot_aligned(size_t align, size_t size);
/* posix_memalign's contract: EINVAL for a bad alignment, *out untouched on failure. */
int boot_posix_memalign(void **out, size_t align, size_t size);
/* A pool block stays where it is, or moves to memory from `grow`; copies what there was. */
void *boot_realloc(void *ptr, size_t size, void *(*grow)(size_t));
size_t boot_usable(const void *ptr);

#endif
