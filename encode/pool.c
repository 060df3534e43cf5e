/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/pool.h"

#include <stdint.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/mem.h"

struct pool_chunk {
	struct pool_chunk *next;
	size_t size; /* of data */
	char data[];
};

/* Two chunks and their headers fill a 16 KiB block of base/mem.h's small classes. */
enum { CHUNK = 8000 };

static struct pool_chunk *chunk_new(size_t size)
{
	struct pool_chunk *chunk = mem_alloc(sizeof(*chunk) + size);

	if (chunk)
		chunk->size = size;
	return chunk;
}

void *pool_alloc(struct pool *pool, size_t size)
{
	struct pool_chunk *chunk = pool->chunk;
	void *at;

	if (size > SIZE_MAX / 2)
		return NULL;
	size = ALIGN_UP(size, (size_t)8);
	if (chunk && chunk->size - pool->used >= size) {
		at = chunk->data + pool->used;
		pool->used += size;
		return at;
	}
	if (chunk && size > CHUNK / 4) {
		/* a large piece of its own, behind the chunk that still has room */
		struct pool_chunk *own = chunk_new(size);

		if (!own)
			return NULL;
		own->next = chunk->next;
		chunk->next = own;
		return own->data;
	}
	chunk = chunk_new(size > CHUNK ? size : CHUNK);
	if (!chunk)
		return NULL;
	chunk->next = pool->chunk;
	pool->chunk = chunk;
	pool->used = size;
	return chunk->data;
}

char *pool_text(struct pool *pool, const char *text, size_t len)
{
	char *copy = pool_alloc(pool, len + 1);

	if (copy) {
		memcpy(copy, text, len);
		copy[len] = '\0';
	}
	return copy;
}

void pool_drop(struct pool *pool)
{
	struct pool_chunk *chunk = pool->chunk;

	while (chunk) {
		struct pool_chunk *next = chunk->next;

		mem_free(chunk);
		chunk = next;
	}
	*pool = (struct pool){ 0 };
}
