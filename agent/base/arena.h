/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Append-only memory for records that live as long as the process: stacks, buckets, thread
 * records. Lock-free: safe in a signal handler that interrupted an allocation in the same arena.
 * Grows by one chunk at a time inside the budget.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { ARENA_CHUNK = 256 << 10 };

struct arena {
	_Atomic(struct arena_chunk *) chunk; /* where allocation goes on; older ones are full */
	_Atomic size_t bytes;		     /* handed out, for /debug/pprof/agent */
};

/* size bytes, zeroed, aligned to 16; NULL when the budget for what stays is spent or
 * size > ARENA_CHUNK / 2.
 * Context: signal, hook, agent, init, child. */
void *arena_alloc(struct arena *arena, size_t size);

size_t arena_bytes(const struct arena *arena);

#endif
