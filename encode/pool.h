/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that only grows and is given back all at once: the names of one answer. Context: agent. */
#ifndef ENCODE_POOL_H
#define ENCODE_POOL_H

#include <stddef.h>

struct pool_chunk;
struct pool { /* all zero is an empty one */
	struct pool_chunk *chunk;
	size_t used; /* of the newest chunk */
};

/* size bytes, aligned to 8, not zeroed; NULL when out of memory. */
void *pool_alloc(struct pool *pool, size_t size);

/* A copy with a NUL behind it. */
char *pool_text(struct pool *pool, const char *text, size_t len);

void pool_drop(struct pool *pool);

#endif
