/* SPDX-License-Identifier: Apache-2.0 */
/* base/mem.h on the C library's malloc, so that the address sanitizer watches every block. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/mem.h"

static size_t used;

void *mem_alloc(size_t size)
{
	size_t *p = malloc(size + 16);

	if (!p)
		return NULL;
	*p = size;
	used += size;
	return p + 2;
}

void *mem_zalloc(size_t size)
{
	void *p = mem_alloc(size);

	return p ? memset(p, 0, size) : NULL;
}

void mem_free(void *ptr)
{
	size_t *p = ptr;

	if (!p)
		return;
	used -= p[-2];
	free(p - 2);
}

void *mem_realloc(void *ptr, size_t size)
{
	size_t old = ptr ? ((size_t *)ptr)[-2] : 0;
	void *p = mem_alloc(size);

	if (p && ptr)
		memcpy(p, ptr, old < size ? old : size);
	if (p)
		mem_free(ptr);
	return p;
}

char *mem_strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = mem_alloc(size);

	return copy ? memcpy(copy, text, size) : NULL;
}

size_t mem_used(void)
{
	return used;
}

void mem_child(void)
{
}
