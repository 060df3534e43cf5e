/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sampled blocks that are alive: address -> where they are counted, size, birth.
 *
 * Every free in the process asks livemap_maybe() first: one bit of collect/livefilter.h. Behind it,
 * hash sets of groups of seven entries.
 * Everything is lock-free, in a signal handler and in a forked child too: an address belongs to the
 * thread that got it from malloc until that thread gives it to free, so that two threads never
 * argue about one entry, and memory of the map is never given back or put to another use.
 */
#ifndef COLLECT_LIVEMAP_H
#define COLLECT_LIVEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/attr.h"
#include "agent/collect/livefilter.h"

struct bucket;

struct live {
	uintptr_t address;
	struct bucket *bucket;
	uint64_t size;	/* bytes, as asked for */
	uint64_t birth; /* CLOCK_MONOTONIC, ns */
	unsigned epoch; /* of the rate at which it was sampled: below LIVE_EPOCHS */
};
enum { LIVE_EPOCHS = 64 };

/* Blocks within 128 bytes of each other share a place, and neighbours in memory are neighbours here,
 * as far as 256 KiB go: what a program uses together is together in the cache too. The second term keeps
 * blocks apart that lie a power of two from each other.
 * Context: signal, hook, agent, init, child. */
static inline uint32_t livemap_hash(uintptr_t address)
{
	return (uint32_t)(address >> 7) + (uint32_t)(address >> 18);
}

/* False: this block is certainly not in the map, and not pinned. Context: hook. */
static inline bool livemap_maybe(const void *ptr)
{
	return livefilter_maybe(livemap_hash((uintptr_t)ptr));
}

/* From now on livemap_maybe is true for this address, though nothing can be taken there: for the few
 * blocks that the real free must never see. Context: hook. */
void livemap_pin(const void *ptr);

/* The map's own memory shall stay below `limit` bytes. dense: nearly every block will be in it; then
 * livemap_maybe is true for all, until livemap_sparse() was called and the map has grown a filter.
 * Context: init; hook. */
void livemap_start(size_t limit, bool dense);
void livemap_sparse(void);

/* An insertion at this address will follow. Context: hook. */
void livemap_prefetch(uintptr_t address);

/* False when there is no room near its place: thin that place out, or give up. The address is not in
 * the map (livemap_take it first if livemap_maybe). Context: hook. */
bool livemap_insert(const struct live *entry);

/* Removes and returns the entry of an address. False: none. Context: signal, hook. */
bool livemap_take(uintptr_t address, struct live *out);

/* Visits the entries that share a place with this address. `keep` decides: an epoch to rewrite the
 * entry with (its own: leave it), or -1 to remove it. `done` is called when that has happened: it
 * does not happen when the entry's owner removed it meanwhile. Returns the number removed.
 * Context: hook. */
unsigned livemap_thin(uintptr_t address, int (*keep)(const struct live *entry),
		      void (*done)(const struct live *entry, int verdict));

/* Visits all entries; those that come and go meanwhile are visited or not. Context: agent. */
void livemap_each(void (*visit)(void *context, const struct live *entry), void *context);

/* Bytes of memory, filter included. Context: any. */
size_t livemap_bytes(void);

/* Growth that another thread was at when fork copied the process is begun anew. Context: child. */
void livemap_child(void);

#endif
