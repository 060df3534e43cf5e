/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent thread's own malloc: never the target's, whose lock a dead thread may hold. Charged to
 * the budget. Memory comes back: answers of any size leave nothing behind.
 *
 * Context: agent, init. One lock guards it, so that a second agent thread may use it too.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

/* Aligned to 16, not zeroed; NULL when the budget is spent. mem_alloc(0) is a valid small block. */
void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
/* As realloc: NULL leaves the old block alive. */
void *mem_realloc(void *ptr, size_t size);
void mem_free(void *ptr);
char *mem_strdup(const char *text);

/* Bytes in live blocks, block headers included. */
size_t mem_used(void);

/* Starts anew: the parent's agent thread may have been at work in here, so nothing of its state can
 * be used, and nobody is left to free its blocks. Whoever kept pointers forgets them too (the .child
 * rows of the modules table). Context: child. */
void mem_child(void);

#endif
