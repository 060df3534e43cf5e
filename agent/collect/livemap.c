/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design. A level is an array of sets. A set is a group of seven slots, and more groups chained to
 * it when it overflows. When a level overflows too much the next one, four times its size, takes
 * what is new; entries never move.
 *
 * A slot (collect/liveslot.h) is half a cache line, and each address has one of a group's seven
 * that it is looked for first: blocks of one 128 bytes, which share a set, want different slots. So
 * nearly always a take is one miss, and an insertion too.
 *
 * Entries that share a filter bit share a set in every level (both are low bits of one hash), so
 * the remover of an entry can tell whether its bit is still needed.
 *
 * A dense map (nearly every block is sampled) has the filter that lets everything pass and is never
 * written: what it could hold back would not be worth its upkeep.
 */
#include "agent/collect/livemap.h"

#include "agent/base/arena.h"
#include "agent/base/attr.h"
#include "agent/base/budget.h"
#include "agent/collect/liveslot.h"

enum {
	WAYS = 7,
	LEVELS = 8,
	LEVEL0_SETS = 512,
	FILTER_MAX_WORDS = 128 << 10, /* 1 MiB: beyond it a miss costs more than it saves */
	DENSE_SETS = 8 << 10,	      /* 2 MiB */
	COPY_STEP = 32,		      /* sets copied to the next filter per insertion */
};

struct group {
	_Atomic(struct group *) next;
	char pad[24];
	struct liveslot slot[WAYS];
};
_Static_assert(sizeof(struct group) == 256, "whole cache lines: see base/arena.c");

struct level {
	uint32_t mask;		    /* number of sets - 1 */
	_Atomic uint32_t overflows; /* groups chained to its sets */
	struct group *set;
};

/* Static: whatever becomes of the budget, every address has seven places. */
static struct group groups0[LEVEL0_SETS] __attribute__((aligned(64))) BIG;

static struct {
	struct arena arena; /* chained groups only */
	size_t limit;
	_Atomic bool dense;
	_Atomic size_t bytes; /* levels */
	struct level level[LEVELS];
	_Atomic unsigned levels; /* release: after level[levels - 1] was filled in */
	_Atomic int growing;	 /* a thread is making a level or a filter */
	_Atomic bool ready;	 /* the first insertion has been */
} self = {
	.level = {{.mask = LEVEL0_SETS - 1, .set = groups0}},
	.levels = 1,
	.limit = SIZE_MAX,
};

size_t livemap_bytes(void)
{
	return arena_bytes(&self.arena) + livefilter_bytes() +
	       atomic_load_explicit(&self.bytes, memory_order_relaxed);
}

void livemap_start(size_t limit, bool dense)
{
	self.limit = limit;
	if (!dense)
		return;
	atomic_store(&self.dense, true);
	livefilter_open();
}

static struct group *set_of(unsigned level, uint32_t hash)
{
	return &self.level[level].set[hash & self.level[level].mask];
}

static struct group *next_group(const struct group *g)
{
	return atomic_load_explicit(&g->next, memory_order_acquire);
}

/* Where in a group an address is looked for first. malloc's blocks lie 32 bytes or more apart, so
 * that the odd 16 bytes may share. */
static unsigned first_way(uintptr_t address)
{
	unsigned way = (unsigned)(address >> 4) & 7;

	return way < WAYS ? way : WAYS / 2;
}

/* For livefilter_remove: is there an entry with these bits of the hash? */
static bool position_used(uint32_t hash, uint32_t position)
{
	unsigned levels = atomic_load_explicit(&self.levels, memory_order_acquire);

	for (unsigned l = 0; l < levels; l++) {
		for (struct group *g = set_of(l, hash); g; g = next_group(g)) {
			for (int i = 0; i < WAYS; i++) {
				uintptr_t key = liveslot_key(&g->slot[i]);

				if (key > LIVESLOT_CLAIMED &&
				    !((livemap_hash(key) ^ hash) & position))
					return true;
			}
		}
	}
	return false;
}

static bool insert_in_set(struct group *g, const struct live *entry)
{
	for (; g; g = next_group(g)) {
		unsigned way = first_way(entry->address);

		for (int i = 0; i < WAYS; i++, way = way + 1 < WAYS ? way + 1 : 0)
			if (liveslot_fill(&g->slot[way], entry))
				return true;
	}
	return false;
}

/* Chains a new group, with the entry in it, to a set. */
static bool insert_in_new_group(unsigned level, uint32_t hash, const struct live *entry)
{
	struct group *head = set_of(level, hash), *g, *second;

	if (livemap_bytes() + sizeof(*g) > self.limit)
		return false;
	g = arena_alloc(&self.arena, sizeof(*g));
	if (!g)
		return false;
	liveslot_fill(&g->slot[first_way(entry->address)], entry);
	second = next_group(head);
	do
		atomic_store_explicit(&g->next, second, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&head->next, &second, g, memory_order_acq_rel,
						      memory_order_acquire));
	atomic_fetch_add_explicit(&self.level[level].overflows, 1, memory_order_relaxed);
	return true;
}

static bool add_level(unsigned levels, uint32_t sets)
{
	struct level *fresh = &self.level[levels];
	size_t size = sets * sizeof(*fresh->set);

	if (livemap_bytes() + size <= self.limit && budget_can_keep(size))
		fresh->set = budget_map(size);
	if (!fresh->set)
		return false;
	atomic_fetch_add_explicit(&self.bytes, size, memory_order_relaxed);
	fresh->mask = sets - 1;
	atomic_store_explicit(&self.levels, levels + 1, memory_order_release);
	return true;
}

/* For livefilter_step: the sets of all levels in a row, COPY_STEP to a part. Levels added later
 * need not be copied: what is in them was put into the new filter when it came. */
static void copy_part(uint64_t number, struct live_filter *filter)
{
	uint64_t at = number * COPY_STEP;
	unsigned l = 0;

	for (; at > self.level[l].mask; l++)
		at -= self.level[l].mask + 1;
	for (unsigned n = 0; n < COPY_STEP; n++)
		for (const struct group *g = &self.level[l].set[at + n]; g; g = next_group(g))
			for (int i = 0; i < WAYS; i++) {
				uintptr_t key = liveslot_key(&g->slot[i]);

				if (key > LIVESLOT_CLAIMED)
					livefilter_put(filter, livemap_hash(key));
			}
}

static uint64_t parts_of(unsigned levels)
{
	uint64_t sets = 0;

	for (unsigned l = 0; l < levels; l++)
		sets += self.level[l].mask + 1;
	return sets / COPY_STEP;
}

/* Words of the filter that a map of this many sets deserves: 8 bits for each of its places. */
static uint32_t words_for(uint32_t sets)
{
	uint32_t words = LIVEFILTER_WORDS;

	while (words < FILTER_MAX_WORDS && words < sets * WAYS / 4)
		words *= 2;
	return words;
}

/*
 * Called when a set overflowed. The next level is due when one set in four has; with it the filter
 * for it, and before it, because a filter that is kept up to date may not have fewer bits than a
 * level has sets (see position_used).
 */
static void grow(void)
{
	unsigned levels = atomic_load_explicit(&self.levels, memory_order_acquire);
	const struct level *newest = &self.level[levels - 1];
	uint32_t sets = newest->mask + 1, more = sets * 4;
	bool dense = atomic_load_explicit(&self.dense, memory_order_relaxed), due, open;

	due = levels < LEVELS &&
	      atomic_load_explicit(&newest->overflows, memory_order_relaxed) > sets / 4;
	if ((!due && (dense || !livefilter_is_open())) || livefilter_growing() ||
	    atomic_exchange_explicit(&self.growing, 1, memory_order_acquire))
		return;
	open = livefilter_is_open();
	if (atomic_load_explicit(&self.levels, memory_order_acquire) != levels ||
	    livefilter_growing())
		due = false; /* somebody else was faster */
	else if (!dense && (open || (due && livefilter_words() < words_for(more))))
		livefilter_grow(words_for(due ? more : sets), parts_of(levels));
	if (due && (open ? dense : more <= livefilter_words() * 32))
		add_level(levels, more);
	atomic_store_explicit(&self.growing, 0, memory_order_release);
}

void livemap_sparse(void)
{
	atomic_store_explicit(&self.dense, false, memory_order_relaxed);
	grow();
}

/* A dense map will be large: it begins with a level that is. */
static COLD void first_insertion(void)
{
	/* the arena's first chunk: room for 7,000 entries whatever others do to the budget */
	arena_alloc(&self.arena, sizeof(struct group));
	if (atomic_load_explicit(&self.dense, memory_order_relaxed) &&
	    !atomic_exchange_explicit(&self.growing, 1, memory_order_acquire)) {
		if (atomic_load_explicit(&self.levels, memory_order_acquire) == 1)
			add_level(1, DENSE_SETS);
		atomic_store_explicit(&self.growing, 0, memory_order_release);
	}
	atomic_store_explicit(&self.ready, true, memory_order_release);
}

/* The newest level first: it is the largest, and there the entry is looked for first. */
bool livemap_insert(const struct live *entry)
{
	uint32_t hash = livemap_hash(entry->address);
	unsigned levels;
	bool done = false;

	if (UNLIKELY(!atomic_load_explicit(&self.ready, memory_order_acquire)))
		first_insertion();
	levels = atomic_load_explicit(&self.levels, memory_order_acquire);
	for (unsigned l = levels; l-- > 0 && !done;)
		done = insert_in_set(set_of(l, hash), entry);
	if (!done) {
		if (!insert_in_new_group(levels - 1, hash, entry))
			return false;
		grow();
	}
	livefilter_add(hash);
	livefilter_step(copy_part);
	return true;
}

void livemap_prefetch(uintptr_t address)
{
	uint32_t hash = livemap_hash(address);
	unsigned levels = atomic_load_explicit(&self.levels, memory_order_acquire);
	unsigned way = first_way(address);

	__builtin_prefetch(&set_of(levels - 1, hash)->slot[way], 1);
	if (levels > 1)
		__builtin_prefetch(&set_of(levels - 2, hash)->slot[way], 1);
}

void livemap_pin(const void *ptr)
{
	const struct live pin = {.address = (uintptr_t)ptr};

	livemap_insert(&pin);
}

/* The slot of an address, or NULL. Where each level has it first, then everywhere. */
static struct liveslot *find(uintptr_t address)
{
	uint32_t hash = livemap_hash(address);
	unsigned levels = atomic_load_explicit(&self.levels, memory_order_acquire);
	unsigned way = first_way(address);

	for (unsigned l = levels; l-- > 0;) {
		struct liveslot *slot = &set_of(l, hash)->slot[way];

		if (liveslot_key(slot) == address)
			return slot;
	}
	for (unsigned l = levels; l-- > 0;)
		for (struct group *g = set_of(l, hash); g; g = next_group(g))
			for (int i = 0; i < WAYS; i++)
				if (liveslot_key(&g->slot[i]) == address)
					return &g->slot[i];
	return NULL;
}

bool livemap_take(uintptr_t address, struct live *out)
{
	struct liveslot *slot;
	uint64_t meta;

	if (address <= LIVESLOT_CLAIMED)
		return false;
	livemap_prefetch(address);
	slot = find(address);
	if (!slot)
		return false;
	/* again when livemap_thin rewrote the epoch */
	do
		if (!liveslot_read(slot, out, &meta))
			return false; /* a pin, or thinned out meanwhile */
	while (!liveslot_end(slot, meta));
	out->address = address;
	livefilter_remove(livemap_hash(address), position_used);
	return true;
}

static bool thin_slot(struct liveslot *slot, int (*keep)(const struct live *),
		      void (*done)(const struct live *, int))
{
	struct live entry;
	uint64_t meta;
	int verdict;

	if (!liveslot_peek(slot, &entry, &meta))
		return false;
	verdict = keep(&entry);
	if (verdict == (int)entry.epoch)
		return false;
	if (verdict < 0) {
		if (!liveslot_end(slot, meta))
			return false;
		livefilter_remove(livemap_hash(entry.address), position_used);
		done(&entry, verdict);
		return true;
	}
	if (liveslot_set_epoch(slot, meta, (unsigned)verdict))
		done(&entry, verdict);
	return false;
}

unsigned livemap_thin(uintptr_t address, int (*keep)(const struct live *entry),
		      void (*done)(const struct live *entry, int verdict))
{
	uint32_t hash = livemap_hash(address);
	unsigned levels = atomic_load_explicit(&self.levels, memory_order_acquire);
	unsigned removed = 0;

	for (unsigned l = 0; l < levels; l++)
		for (struct group *g = set_of(l, hash); g; g = next_group(g))
			for (int i = 0; i < WAYS; i++)
				removed += thin_slot(&g->slot[i], keep, done);
	return removed;
}

static void visit_group(const struct group *g,
			void (*visit)(void *context, const struct live *entry), void *context)
{
	for (int i = 0; i < WAYS; i++) {
		struct live entry;
		uint64_t meta;

		if (liveslot_peek(&g->slot[i], &entry, &meta))
			visit(context, &entry);
	}
}

void livemap_each(void (*visit)(void *context, const struct live *entry), void *context)
{
	unsigned levels = atomic_load_explicit(&self.levels, memory_order_acquire);

	for (unsigned l = 0; l < levels; l++)
		for (uint32_t i = 0; i <= self.level[l].mask; i++)
			for (const struct group *g = &self.level[l].set[i]; g; g = next_group(g))
				visit_group(g, visit, context);
}

void livemap_child(void)
{
	atomic_store(&self.growing, 0);
	livefilter_restart();
}
