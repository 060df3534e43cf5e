/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design. A level is an array of sets. A set is a group of seven places, and more groups chained to
 * it when it overflows; a group has its seven addresses and the link in one cache line, so that
 * looking at a set is one miss. When a level overflows too much the next one, four times its size,
 * takes what is new; entries never move, and free places in older levels are used first.
 *
 * One slot: `key` is 0 (free), CLAIMED (being filled), or the address. `meta` holds the bucket, the
 * epoch, LIVE, and a tag that changes at each use. Whoever clears LIVE by compare-and-swap owns the
 * slot's end, and alone sets key back to 0.
 *
 * Filter. Entries that share a filter bit share a set in every level (both are low bits of one
 * hash), so the remover of an entry can tell whether its bit is still needed. A filter is replaced
 * by a bigger one in steps: `next` is published, and from then on insertions go to both; sets that
 * were there before are copied by whoever inserts, a few at a time; then `next` becomes the filter.
 * A thread that still looks into the old filter frees a block that was inserted before it loaded the
 * pointer: its bit is there. Old filters are therefore kept, never reused.
 *
 * A dense map (nearly every block is sampled) has the filter that lets everything pass and is never
 * written: what it could hold back would not be worth its upkeep.
 */
#include "agent/base/attr.h"
#include "agent/collect/livemap.h"

#include "agent/base/arena.h"
#include "agent/base/budget.h"

enum {
	WAYS = 7,
	LEVELS = 8,
	LEVEL0_SETS = 512,
	FILTER0_WORDS = 1024,	     /* 8 KiB, 32,768 bits */
	FILTER_MAX_WORDS = 128 << 10, /* 1 MiB: beyond it a miss costs more than it saves */
	DENSE_SETS = 8 << 10,	     /* 2 MiB */
	COPY_STEP = 32,		     /* sets copied to the next filter per insertion */
};
enum { FREE = 0, CLAIMED = 1 };

/* meta: bits 0..47 bucket (aligned to 16, so that bit 0 is LIVE), 48..53 epoch, 54..63 tag */
#define META_LIVE   ((uint64_t)1)
#define META_BUCKET ((((uint64_t)1 << 48) - 1) & ~(uint64_t)15)
#define META_TAG    ((uint64_t)1 << 54)

struct slot {
	_Atomic uint64_t meta;
	_Atomic uint64_t size;
	_Atomic uint64_t birth;
};

struct group {
	_Atomic uintptr_t key[WAYS];
	_Atomic(struct group *) next;
	struct slot slot[WAYS];
	char pad[24];
};
_Static_assert(sizeof(struct group) == 256, "whole cache lines: see base/arena.c");

struct level {
	uint32_t mask;		    /* number of sets - 1 */
	_Atomic uint32_t overflows; /* groups chained to its sets */
	struct group *set;
};

/* The first filter: its fixed part, then the words, as the struct lays them out. */
static uint64_t filter0[sizeof(struct live_filter) / 8 + FILTER0_WORDS]
	__attribute__((section(".data.zz_big"))) = { FILTER0_WORDS - 1 };
/* One word, every bit set. */
static uint64_t filter_all[sizeof(struct live_filter) / 8 + 1] = {
	[sizeof(struct live_filter) / 8] = UINT32_MAX,
};
_Static_assert(offsetof(struct live_filter, mask) == 0 && sizeof(struct live_filter) % 8 == 0,
	       "little-endian: the first 8 bytes hold the mask");

_Atomic(struct live_filter *) livemap_filter = (struct live_filter *)filter0;

/* Static: whatever becomes of the budget, every address has seven places. */
static struct group groups0[LEVEL0_SETS] __attribute__((aligned(64))) BIG;

static struct {
	struct arena arena; /* chained groups only */
	size_t limit;
	_Atomic bool dense;
	_Atomic size_t bytes; /* levels and filters */
	struct level level[LEVELS];
	_Atomic unsigned levels; /* release: after level[levels - 1] was filled in */
	_Atomic int growing;	 /* a thread is making a level or a filter */
	_Atomic bool ready;	 /* the first insertion has been */
	_Atomic(struct live_filter *) next; /* being filled, or NULL */
} self = {
	.level = { { .mask = LEVEL0_SETS - 1, .set = groups0 } },
	.levels = 1,
	.limit = SIZE_MAX,
};

static size_t filter_size(uint64_t words)
{
	return sizeof(struct live_filter) + words * sizeof(uint64_t);
}

size_t livemap_bytes(void)
{
	return arena_bytes(&self.arena) + atomic_load_explicit(&self.bytes, memory_order_relaxed);
}

static bool is_open(const struct live_filter *f)
{
	return f == (const struct live_filter *)filter_all;
}

void livemap_start(size_t limit, bool dense)
{
	self.limit = limit;
	if (!dense)
		return;
	atomic_store(&self.dense, true);
	atomic_store(&livemap_filter, (struct live_filter *)filter_all);
}

static void filter_set(struct live_filter *f, uint32_t hash)
{
	_Atomic uint64_t *word = &f->word[(hash >> 5) & f->mask];
	uint64_t old = atomic_load_explicit(word, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(word, &old,
						      (old | (uint64_t)1 << (hash & 31)) +
							      ((uint64_t)1 << 32),
						      memory_order_acq_rel, memory_order_relaxed))
		;
}

/* After the entry is in its set: makes it findable in every filter that a free may look into. */
static void filter_publish(uint32_t hash)
{
	struct live_filter *f, *next;

	/* either copy_step sees our slot, or we see the filter that it fills */
	atomic_thread_fence(memory_order_seq_cst);
	do {
		f = atomic_load_explicit(&livemap_filter, memory_order_seq_cst);
		if (!is_open(f))
			filter_set(f, hash);
		next = atomic_load_explicit(&self.next, memory_order_seq_cst);
		if (next)
			filter_set(next, hash);
	} while (atomic_load_explicit(&livemap_filter, memory_order_seq_cst) != f);
}

static struct group *set_of(unsigned level, uint32_t hash)
{
	return &self.level[level].set[hash & self.level[level].mask];
}

static struct group *next_group(const struct group *g)
{
	return atomic_load_explicit(&g->next, memory_order_acquire);
}

/* Is there an entry whose filter position, in a filter of this mask, is that of the hash? */
static bool position_used(uint32_t hash, uint32_t mask)
{
	uint32_t position = mask << 5 | 31;
	unsigned levels = atomic_load_explicit(&self.levels, memory_order_acquire);

	for (unsigned l = 0; l < levels; l++) {
		for (struct group *g = set_of(l, hash); g; g = next_group(g)) {
			for (int i = 0; i < WAYS; i++) {
				uintptr_t key = atomic_load_explicit(&g->key[i], memory_order_acquire);

				if (key > CLAIMED && !((livemap_hash(key) ^ hash) & position))
					return true;
			}
		}
	}
	return false;
}

/* The entry has left its set: clears its bit if no other entry needs it. An insertion changes the
 * word after it filled its slot, so a swap that succeeds proves that the scan saw everything. */
static void filter_clear(struct live_filter *f, uint32_t hash)
{
	_Atomic uint64_t *word = &f->word[(hash >> 5) & f->mask];
	uint64_t bit = (uint64_t)1 << (hash & 31);
	uint64_t old = atomic_load_explicit(word, memory_order_acquire);

	while (old & bit) {
		if (position_used(hash, f->mask))
			return;
		if (atomic_compare_exchange_weak_explicit(word, &old, old & ~bit,
							  memory_order_acq_rel,
							  memory_order_acquire))
			return;
	}
}

static void filter_retract(uint32_t hash)
{
	struct live_filter *f = atomic_load_explicit(&livemap_filter, memory_order_acquire);
	struct live_filter *next = atomic_load_explicit(&self.next, memory_order_acquire);

	if (!is_open(f))
		filter_clear(f, hash);
	if (next)
		filter_clear(next, hash);
}

/* False when the slot is not in use. What comes out belongs together: one use, one epoch. */
static bool slot_read(const struct group *g, int i, struct live *out, uint64_t *out_meta)
{
	const struct slot *s = &g->slot[i];
	uint64_t meta;

	do {
		meta = atomic_load_explicit(&s->meta, memory_order_acquire);
		if (!(meta & META_LIVE))
			return false;
		out->size = atomic_load_explicit(&s->size, memory_order_relaxed);
		out->birth = atomic_load_explicit(&s->birth, memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
	} while (atomic_load_explicit(&s->meta, memory_order_relaxed) != meta);
	out->bucket = (struct bucket *)(uintptr_t)(meta & META_BUCKET);
	out->epoch = (unsigned)(meta >> 48) & (LIVE_EPOCHS - 1);
	*out_meta = meta;
	return true;
}

/* The same for a slot that belongs to somebody else. */
static bool slot_peek(const struct group *g, int i, struct live *out, uint64_t *out_meta)
{
	out->address = atomic_load_explicit(&g->key[i], memory_order_acquire);
	return out->address > CLAIMED && slot_read(g, i, out, out_meta) &&
	       atomic_load_explicit(&g->key[i], memory_order_acquire) == out->address;
}

/* Without a bucket it makes a pin: an address that nobody can take. */
static bool slot_try(struct group *g, int i, const struct live *entry)
{
	struct slot *s = &g->slot[i];
	uintptr_t expected = FREE;
	uint64_t meta;

	if (atomic_load_explicit(&g->key[i], memory_order_relaxed) != FREE ||
	    !atomic_compare_exchange_strong_explicit(&g->key[i], &expected, CLAIMED,
						     memory_order_acquire, memory_order_relaxed))
		return false;
	atomic_store_explicit(&s->size, entry->size, memory_order_relaxed);
	atomic_store_explicit(&s->birth, entry->birth, memory_order_relaxed);
	meta = atomic_load_explicit(&s->meta, memory_order_relaxed) & ~(META_TAG - 1);
	meta += META_TAG;
	if (entry->bucket)
		meta |= META_LIVE | (uint64_t)entry->epoch << 48 | (uintptr_t)entry->bucket;
	atomic_store_explicit(&s->meta, meta, memory_order_release);
	atomic_store_explicit(&g->key[i], entry->address, memory_order_release);
	return true;
}

/* Clears LIVE; false when someone else did, or changed the slot. */
static bool slot_end(struct group *g, int i, uint64_t meta)
{
	if (!atomic_compare_exchange_strong_explicit(&g->slot[i].meta, &meta, meta & ~META_LIVE,
						     memory_order_acq_rel, memory_order_relaxed))
		return false;
	atomic_store_explicit(&g->key[i], FREE, memory_order_release);
	return true;
}

static bool insert_in_set(struct group *g, const struct live *entry)
{
	for (; g; g = next_group(g))
		for (int i = 0; i < WAYS; i++)
			if (slot_try(g, i, entry))
				return true;
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
	slot_try(g, 0, entry);
	second = next_group(head);
	do
		atomic_store_explicit(&g->next, second, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&head->next, &second, g, memory_order_acq_rel,
						      memory_order_acquire));
	atomic_fetch_add_explicit(&self.level[level].overflows, 1, memory_order_relaxed);
	return true;
}

static void *grow_map(size_t size)
{
	void *at = budget_can_keep(size) ? budget_map(size) : NULL;

	if (at)
		atomic_fetch_add_explicit(&self.bytes, size, memory_order_relaxed);
	return at;
}

static bool add_level(unsigned levels, uint32_t sets)
{
	struct level *fresh = &self.level[levels];

	if (livemap_bytes() + sets * sizeof(*fresh->set) <= self.limit)
		fresh->set = grow_map(sets * sizeof(*fresh->set));
	if (!fresh->set)
		return false;
	fresh->mask = sets - 1;
	atomic_store_explicit(&self.levels, levels + 1, memory_order_release);
	return true;
}

static void begin_filter(uint32_t words, unsigned levels)
{
	struct live_filter *fresh = grow_map(filter_size(words));

	if (!fresh)
		return;
	fresh->mask = words - 1;
	for (unsigned l = 0; l < levels; l++)
		fresh->total += (self.level[l].mask + 1) / COPY_STEP;
	atomic_store_explicit(&self.next, fresh, memory_order_seq_cst);
}

static void copy_set(struct live_filter *next, const struct group *g)
{
	for (; g; g = next_group(g)) {
		for (int i = 0; i < WAYS; i++) {
			uintptr_t key = atomic_load_explicit(&g->key[i], memory_order_acquire);

			if (key > CLAIMED)
				filter_set(next, livemap_hash(key));
		}
	}
}

/* One step of filling the next filter; the thread that ends the last step puts it in place. */
static void copy_step(struct live_filter *next)
{
	uint64_t at;

	if (atomic_load_explicit(&next->begun, memory_order_relaxed) >= next->total)
		return;
	at = atomic_fetch_add_explicit(&next->begun, 1, memory_order_acq_rel);
	if (at >= next->total)
		return;
	/* an insertion that did not see `next` has filled its slot before we look */
	atomic_thread_fence(memory_order_seq_cst);
	at *= COPY_STEP;
	for (unsigned l = 0;; l++) {
		const struct level *level = &self.level[l];

		if (at > level->mask) {
			at -= level->mask + 1;
			continue;
		}
		for (int i = 0; i < COPY_STEP; i++)
			copy_set(next, &level->set[at + (unsigned)i]);
		break;
	}
	if (atomic_fetch_add_explicit(&next->ended, 1, memory_order_acq_rel) + 1 == next->total) {
		atomic_store_explicit(&livemap_filter, next, memory_order_seq_cst);
		atomic_store_explicit(&self.next, NULL, memory_order_seq_cst);
	}
}

/* Words of the filter that a map of this many sets deserves: 8 bits for each of its places. */
static uint32_t words_for(uint32_t sets)
{
	uint32_t words = FILTER0_WORDS;

	while (words < FILTER_MAX_WORDS && words < sets * WAYS / 4)
		words *= 2;
	return words;
}

/*
 * Called when a set overflowed. The next level is due when one set in four has; with it the filter
 * for it, and before it, because a filter that is kept up to date may not have fewer bits than a
 * level has sets (see filter_clear).
 */
static void grow(void)
{
	unsigned levels = atomic_load_explicit(&self.levels, memory_order_acquire);
	const struct level *newest = &self.level[levels - 1];
	uint32_t sets = newest->mask + 1, more = sets * 4;
	const struct live_filter *f;
	bool dense = atomic_load_explicit(&self.dense, memory_order_relaxed), due;

	due = levels < LEVELS &&
	      atomic_load_explicit(&newest->overflows, memory_order_relaxed) > sets / 4;
	if ((!due && (dense || !is_open(atomic_load(&livemap_filter)))) ||
	    atomic_load_explicit(&self.next, memory_order_acquire) ||
	    atomic_exchange_explicit(&self.growing, 1, memory_order_acquire))
		return;
	f = atomic_load_explicit(&livemap_filter, memory_order_acquire);
	if (atomic_load_explicit(&self.levels, memory_order_acquire) != levels ||
	    atomic_load_explicit(&self.next, memory_order_acquire))
		due = false; /* somebody else was faster */
	else if (!dense && (is_open(f) || (due && f->mask + 1 < words_for(more))))
		begin_filter(words_for(due ? more : sets), levels);
	if (due && (is_open(f) ? dense : more <= (f->mask + 1) * 32))
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

bool livemap_insert(const struct live *entry)
{
	uint32_t hash = livemap_hash(entry->address);
	struct live_filter *next;
	unsigned levels;
	bool done = false;

	if (UNLIKELY(!atomic_load_explicit(&self.ready, memory_order_acquire)))
		first_insertion();
	levels = atomic_load_explicit(&self.levels, memory_order_acquire);
	for (unsigned l = 0; l < levels && !done; l++)
		done = insert_in_set(set_of(l, hash), entry);
	if (!done) {
		if (!insert_in_new_group(levels - 1, hash, entry))
			return false;
		grow();
	}
	filter_publish(hash);
	next = atomic_load_explicit(&self.next, memory_order_acquire);
	if (UNLIKELY(next))
		copy_step(next);
	return true;
}

void livemap_prefetch(uintptr_t address)
{
	uint32_t hash = livemap_hash(address);
	unsigned levels = atomic_load_explicit(&self.levels, memory_order_acquire);
	/* addresses, and the slots of the first ones: the others follow in the stream */
	const char *newest = (const char *)set_of(levels - 1, hash);

	__builtin_prefetch(newest, 1);
	__builtin_prefetch(newest + 64, 1);
	if (levels > 1)
		__builtin_prefetch(set_of(levels - 2, hash), 1);
}

void livemap_pin(const void *ptr)
{
	const struct live pin = { .address = (uintptr_t)ptr };

	livemap_insert(&pin);
}

/* The slot of an address in a set, or -1. */
static int find_in_group(const struct group *g, uintptr_t address)
{
	for (int i = 0; i < WAYS; i++)
		if (atomic_load_explicit(&g->key[i], memory_order_acquire) == address)
			return i;
	return -1;
}

static bool take_slot(struct group *g, int i, struct live *out)
{
	uint64_t meta;

	/* again when livemap_thin rewrote the epoch */
	while (slot_read(g, i, out, &meta))
		if (slot_end(g, i, meta))
			return true;
	return false; /* a pin, or thinned out meanwhile */
}

bool livemap_take(uintptr_t address, struct live *out)
{
	uint32_t hash = livemap_hash(address);
	unsigned levels = atomic_load_explicit(&self.levels, memory_order_acquire);

	if (address <= CLAIMED)
		return false;
	livemap_prefetch(address);
	for (unsigned l = levels; l-- > 0;) {
		for (struct group *g = set_of(l, hash); g; g = next_group(g)) {
			int i = find_in_group(g, address);

			if (i < 0)
				continue;
			if (!take_slot(g, i, out))
				return false;
			out->address = address;
			filter_retract(hash);
			return true;
		}
	}
	return false;
}

static bool thin_slot(struct group *g, int i, int (*keep)(const struct live *),
		      void (*done)(const struct live *, int))
{
	struct live entry;
	uint64_t meta, changed;
	int verdict;

	if (!slot_peek(g, i, &entry, &meta))
		return false;
	verdict = keep(&entry);
	if (verdict == (int)entry.epoch)
		return false;
	if (verdict < 0) {
		if (!slot_end(g, i, meta))
			return false;
		filter_retract(livemap_hash(entry.address));
		done(&entry, verdict);
		return true;
	}
	changed = (meta & ~((uint64_t)(LIVE_EPOCHS - 1) << 48)) | (uint64_t)verdict << 48;
	if (atomic_compare_exchange_strong_explicit(&g->slot[i].meta, &meta, changed,
						    memory_order_acq_rel, memory_order_relaxed))
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
				removed += thin_slot(g, i, keep, done);
	return removed;
}

static void visit_group(const struct group *g,
			void (*visit)(void *context, const struct live *entry), void *context)
{
	for (int i = 0; i < WAYS; i++) {
		struct live entry;
		uint64_t meta;

		if (slot_peek(g, i, &entry, &meta))
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
	struct live_filter *next = atomic_load(&self.next);

	atomic_store(&self.growing, 0);
	if (!next)
		return;
	if (next == atomic_load(&livemap_filter)) {
		atomic_store(&self.next, NULL);
		return;
	}
	/* a step that a vanished thread had begun would never end */
	atomic_store(&next->ended, 0);
	atomic_store(&next->begun, 0);
}
