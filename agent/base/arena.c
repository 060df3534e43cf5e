/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/arena.h"

#include "agent/base/attr.h"
#include "agent/base/budget.h"

struct arena_chunk {
	_Atomic size_t used; /* may run past ARENA_CHUNK: then the chunk is full */
	char pad[56]; /* blocks of 64 n bytes, in an arena that has no others, start cache lines */
	char data[];
};

void *arena_alloc(struct arena *arena, size_t size)
{
	size = ALIGN_UP(size, (size_t)16);
	if (size > ARENA_CHUNK / 2)
		return NULL;
	for (;;) {
		struct arena_chunk *chunk = atomic_load_explicit(&arena->chunk, memory_order_acquire);
		struct arena_chunk *fresh;

		if (chunk) {
			size_t at = atomic_fetch_add_explicit(&chunk->used, size, memory_order_relaxed);

			if (at + size <= ARENA_CHUNK - sizeof(*chunk)) {
				atomic_fetch_add_explicit(&arena->bytes, size, memory_order_relaxed);
				return chunk->data + at;
			}
		}
		fresh = budget_can_keep(ARENA_CHUNK) ? budget_map(ARENA_CHUNK) : NULL;
		if (!fresh)
			return NULL;
		/* release: the zeroed chunk is seen before its address (acquire above) */
		if (!atomic_compare_exchange_strong_explicit(&arena->chunk, &chunk, fresh,
							     memory_order_acq_rel,
							     memory_order_acquire))
			budget_unmap(fresh, ARENA_CHUNK);
	}
}

size_t arena_bytes(const struct arena *arena)
{
	return atomic_load_explicit(&arena->bytes, memory_order_relaxed);
}
