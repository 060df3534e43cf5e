/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: a hash table whose keys are never removed. A range is covered by pages up to the first boundary
 * of a block, by blocks, and by pages again, so that a large module takes few entries and its neighbours
 * in memory none. An address therefore has two keys.
 */
#include "agent/collect/unloads.h"

#include <stdatomic.h>
#include <stddef.h>

#include "agent/base/attr.h"
#include "agent/base/stats.h"

enum {
	ENTRIES = 1 << 13,
	FULL = ENTRIES / 4 * 3,
	PAGE_SHIFT = 12,
	BLOCK_SHIFT = 16,
};

struct entry {
	_Atomic uint64_t key; /* 0: free */
	_Atomic uint32_t since;
	_Atomic uint32_t used; /* a stack has an address here since then */
};

static struct {
	_Atomic uint64_t low, high; /* all ranges lie in between; high 0: there are none */
	_Atomic uint32_t everywhere; /* since this generation, for all addresses */
	_Atomic uint32_t readers;
	uint32_t count; /* entries taken; of the one writer */
} self;
static struct entry entries[ENTRIES] BIG;

static uint64_t page_key(uint64_t address)
{
	return address >> PAGE_SHIFT << 1 | 1;
}

static uint64_t block_key(uint64_t address)
{
	return address >> BLOCK_SHIFT << 1;
}

/* The entry of the key, or the free one where it belongs. The table is never full. */
static struct entry *entry_of(uint64_t key)
{
	size_t at = (size_t)((key * 0x9e3779b97f4a7c15u) >> 40) % ENTRIES;

	for (;; at = (at + 1) % ENTRIES) {
		uint64_t have = atomic_load_explicit(&entries[at].key, memory_order_acquire);

		if (have == key || !have)
			return &entries[at];
	}
}

static uint32_t look(uint64_t key)
{
	struct entry *e = entry_of(key);

	if (!atomic_load_explicit(&e->key, memory_order_relaxed))
		return 0;
	if (!atomic_load_explicit(&e->used, memory_order_relaxed))
		atomic_store(&e->used, 1);
	return atomic_load_explicit(&e->since, memory_order_acquire);
}

uint32_t unloads_since(const uintptr_t *pcs, uint32_t n, uint32_t generation)
{
	uint32_t since = atomic_load_explicit(&self.everywhere, memory_order_acquire);
	uint64_t high = atomic_load_explicit(&self.high, memory_order_acquire);
	uint64_t low = atomic_load_explicit(&self.low, memory_order_acquire);

	for (uint32_t i = 0; i < n; i++) {
		uint32_t page, block;

		if (pcs[i] >= high || pcs[i] < low)
			continue;
		page = look(page_key(pcs[i]));
		block = look(block_key(pcs[i]));
		since = page > since ? page : since;
		since = block > since ? block : since;
	}
	return since < generation ? since : generation;
}

void unloads_enter(void)
{
	atomic_fetch_add(&self.readers, 1);
}

void unloads_leave(void)
{
	atomic_fetch_sub(&self.readers, 1);
}

/* The next piece of a range: its key; *at moves behind it. */
static uint64_t next_key(uint64_t *at, uint64_t end)
{
	const uint64_t block = (uint64_t)1 << BLOCK_SHIFT;
	uint64_t from = *at;

	if (from % block == 0 && end - from >= block) {
		*at = from + block;
		return block_key(from);
	}
	*at = from + ((uint64_t)1 << PAGE_SHIFT);
	return page_key(from);
}

/* Was it all unmapped before, and not used since? */
static bool is_unused(uint64_t start, uint64_t end)
{
	for (uint64_t at = start; at < end;) {
		struct entry *e = entry_of(next_key(&at, end));

		if (!atomic_load(&e->key) || atomic_load(&e->used))
			return false;
	}
	return atomic_load(&self.readers) == 0;
}

bool unloads_note(uintptr_t start, uintptr_t end, uint32_t next)
{
	uint64_t last = ALIGN_UP((uint64_t)end, (uint64_t)1 << PAGE_SHIFT);

	start = ALIGN_DOWN(start, (uintptr_t)1 << PAGE_SHIFT);
	if (start >= last || is_unused(start, last))
		return false;
	/* high last: who sees it sees low, and takes addresses below for what they are */
	if (!atomic_load(&self.high) || start < atomic_load(&self.low))
		atomic_store(&self.low, start);
	if (last > atomic_load(&self.high))
		atomic_store(&self.high, last);
	for (uint64_t at = start; at < last;) {
		uint64_t key = next_key(&at, last);
		struct entry *e = entry_of(key);

		if (!atomic_load(&e->key) && self.count == FULL) {
			stat_add(STAT_UNLOADS_CROWDED, 1);
			unloads_note_all(next);
			return true;
		}
		atomic_store_explicit(&e->since, next, memory_order_release);
		atomic_store(&e->used, 0);
		if (atomic_load(&e->key))
			continue;
		atomic_store_explicit(&e->key, key, memory_order_release);
		self.count++;
	}
	return true;
}

void unloads_note_all(uint32_t next)
{
	uint32_t was = atomic_load(&self.everywhere);

	while (was < next && !atomic_compare_exchange_weak(&self.everywhere, &was, next))
		;
}

void unloads_child(void)
{
	atomic_store(&self.readers, 0);
}
