/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design. A level is an array of sets; a set is a chain of groups; a group has seven addresses and
 * the link in its first cache line, so that looking at a set of up to seven entries is one miss.
 * Groups are only ever added. When a level's chains get long, the next level, four times its size,
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
 */
#include "agent/collect/livemap.h"

#include "agent/base/arena.h"
#include "agent/base/budget.h"

enum {
	WAYS = 7,
	LEVELS = 8,
	LEVEL0_SETS = 512,
	FILTER0_WORDS = 1024,	     /* 8 KiB, 32,768 bits */
	FILTER_MAX_WORDS = 128 << 10, /* 1 MiB: beyond it a miss costs more than it saves */
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
	uint32_t mask;		/* number of sets - 1 */
	_Atomic uint32_t groups; /* added to its chains */
	_Atomic(struct group *) set[];
};

/* The first filter and level: their fixed parts, then the arrays, as the structs lay them out. */
static uint64_t filter0[sizeof(struct live_filter) / 8 + FILTER0_WORDS] = { FILTER0_WORDS - 1 };
static uint64_t level0[sizeof(struct level) / 8 + LEVEL0_SETS] = { LEVEL0_SETS - 1 };
_Static_assert(offsetof(struct live_filter, mask) == 0 && offsetof(struct level, mask) == 0,
	       "little-endian: the first 8 bytes hold the mask");

/* One group for each of them: whatever becomes of the budget, every address has seven places. */
static struct group groups0[LEVEL0_SETS] __attribute__((aligned(64)));

_Atomic(struct live_filter *) livemap_filter = (struct live_filter *)filter0;

static struct {
	struct arena arena; /* groups only */
	size_t limit;
	_Atomic bool ready;   /* every set of level 0 has its group */
	_Atomic size_t bytes; /* levels and filters */
	_Atomic(struct level *) level[LEVELS];
	_Atomic unsigned levels;
	_Atomic int growing; /* a thread is making a level or a filter */
	_Atomic uint32_t groups; /* in all levels */
	_Atomic(struct live_filter *) next; /* being filled, or NULL */
} self = { .level = { (struct level *)level0 }, .levels = 1, .limit = SIZE_MAX };

static size_t filter_size(uint64_t words)
{
	return sizeof(struct live_filter) + words * sizeof(uint64_t);
}

size_t livemap_bytes(void)
{
	return arena_bytes(&self.arena) + atomic_load_explicit(&self.bytes, memory_order_relaxed);
}

void livemap_start(size_t limit)
{
	self.limit = limit;
}

/* At the first insertion: a process that nobody asks and that samples nothing pays nothing. Threads
 * that come here at the same time do the same, to the same end. */
static COLD void first_insertion(void)
{
	/* the arena's first chunk: room for 7,000 entries whatever others do to the budget */
	arena_alloc(&self.arena, sizeof(struct group));
	for (int i = 0; i < LEVEL0_SETS; i++) {
		struct group *none = NULL;

		atomic_compare_exchange_strong_explicit(&((struct level *)level0)->set[i], &none,
							&groups0[i], memory_order_acq_rel,
							memory_order_relaxed);
	}
	atomic_store_explicit(&self.ready, true, memory_order_release);
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
		filter_set(f, hash);
		next = atomic_load_explicit(&self.next, memory_order_seq_cst);
		if (next)
			filter_set(next, hash);
	} while (atomic_load_explicit(&livemap_filter, memory_order_seq_cst) != f);
}

/* Is there an entry whose filter position, in a filter of this mask, is that of the hash? */
static bool position_used(uint32_t hash, uint32_t mask)
{
	uint32_t position = mask << 5 | 31;
	unsigned levels = atomic_load_explicit(&self.levels, memory_order_acquire);

	for (unsigned l = 0; l < levels; l++) {
		struct level *level = atomic_load_explicit(&self.level[l], memory_order_acquire);
		struct group *g =
			atomic_load_explicit(&level->set[hash & level->mask], memory_order_acquire);

		for (; g; g = atomic_load_explicit(&g->next, memory_order_acquire)) {
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
	struct live_filter *next = atomic_load_explicit(&self.next, memory_order_acquire);

	filter_clear(atomic_load_explicit(&livemap_filter, memory_order_acquire), hash);
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

static bool insert_in_groups(struct group *g, const struct live *entry)
{
	for (; g; g = atomic_load_explicit(&g->next, memory_order_acquire))
		for (int i = 0; i < WAYS; i++)
			if (slot_try(g, i, entry))
				return true;
	return false;
}

/* A new group at the head of a set's chain, with the entry in it. */
static bool insert_in_new_group(struct level *level, uint32_t hash, const struct live *entry)
{
	_Atomic(struct group *) *set = &level->set[hash & level->mask];
	struct group *first = atomic_load_explicit(set, memory_order_acquire);
	struct group *g;

	if (livemap_bytes() + sizeof(*g) > self.limit)
		return false;
	g = arena_alloc(&self.arena, sizeof(*g));
	if (!g)
		return false;
	slot_try(g, 0, entry);
	do
		atomic_store_explicit(&g->next, first, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(set, &first, g, memory_order_acq_rel,
						      memory_order_acquire));
	atomic_fetch_add_explicit(&level->groups, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&self.groups, 1, memory_order_relaxed);
	return true;
}

static void *grow_map(size_t size)
{
	void *at = livemap_bytes() + size > self.limit ? NULL : budget_map(size);

	if (at)
		atomic_fetch_add_explicit(&self.bytes, size, memory_order_relaxed);
	return at;
}

static void add_level(const struct level *newest, unsigned levels)
{
	uint32_t sets = (newest->mask + 1) * 4;
	struct level *fresh = grow_map(sizeof(*fresh) + sets * sizeof(fresh->set[0]));

	if (!fresh)
		return;
	fresh->mask = sets - 1;
	atomic_store_explicit(&self.level[levels], fresh, memory_order_release);
	atomic_store_explicit(&self.levels, levels + 1, memory_order_release);
}

static void begin_filter(const struct live_filter *f, unsigned levels)
{
	uint64_t steps = 0;
	uint32_t words = (f->mask + 1) * 2;
	struct live_filter *fresh = grow_map(filter_size(words));

	if (!fresh)
		return;
	fresh->mask = words - 1;
	for (unsigned l = 0; l < levels; l++)
		steps += (atomic_load_explicit(&self.level[l], memory_order_acquire)->mask + 1) /
			 COPY_STEP;
	fresh->total = steps;
	atomic_store_explicit(&self.next, fresh, memory_order_seq_cst);
}

static void copy_set(struct live_filter *next, struct group *g)
{
	for (; g; g = atomic_load_explicit(&g->next, memory_order_acquire)) {
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
		struct level *level = atomic_load_explicit(&self.level[l], memory_order_acquire);

		if (at > level->mask) {
			at -= level->mask + 1;
			continue;
		}
		for (int i = 0; i < COPY_STEP; i++)
			copy_set(next, atomic_load_explicit(&level->set[at + i], memory_order_acquire));
		break;
	}
	if (atomic_fetch_add_explicit(&next->ended, 1, memory_order_acq_rel) + 1 == next->total) {
		atomic_store_explicit(&livemap_filter, next, memory_order_seq_cst);
		atomic_store_explicit(&self.next, NULL, memory_order_seq_cst);
	}
}

/* Called after a group was added. A level is made when as many groups were added to the newest one as it has sets,
 * a filter when there is a group (about four entries) for 32 of its bits. */
static void grow(void)
{
	const struct live_filter *f = atomic_load_explicit(&livemap_filter, memory_order_acquire);
	unsigned levels = atomic_load_explicit(&self.levels, memory_order_acquire);
	const struct level *newest =
		atomic_load_explicit(&self.level[levels - 1], memory_order_acquire);
	uint32_t groups = atomic_load_explicit(&newest->groups, memory_order_relaxed);
	uint64_t words = f->mask + 1;
	/* a level may not have more sets than the filter has bits: see filter_clear */
	bool level_due = levels < LEVELS && groups > newest->mask &&
			 ((uint64_t)newest->mask + 1) * 4 <= words * 32;
	bool filter_due = words < FILTER_MAX_WORDS &&
			  atomic_load_explicit(&self.groups, memory_order_relaxed) > words &&
			  !atomic_load_explicit(&self.next, memory_order_acquire);

	if (!(level_due | filter_due) ||
	    atomic_exchange_explicit(&self.growing, 1, memory_order_acquire))
		return;
	if (level_due && atomic_load_explicit(&self.levels, memory_order_acquire) == levels)
		add_level(newest, levels);
	if (filter_due && atomic_load_explicit(&livemap_filter, memory_order_acquire) == f &&
	    !atomic_load_explicit(&self.next, memory_order_acquire))
		begin_filter(f, atomic_load_explicit(&self.levels, memory_order_acquire));
	atomic_store_explicit(&self.growing, 0, memory_order_release);
}

bool livemap_insert(const struct live *entry)
{
	uint32_t hash = livemap_hash(entry->address);
	unsigned levels = atomic_load_explicit(&self.levels, memory_order_acquire);
	struct live_filter *next;
	bool done = false;

	if (UNLIKELY(!atomic_load_explicit(&self.ready, memory_order_acquire)))
		first_insertion();
	for (unsigned l = 0; l < levels && !done; l++) {
		struct level *level = atomic_load_explicit(&self.level[l], memory_order_acquire);

		done = insert_in_groups(
			atomic_load_explicit(&level->set[hash & level->mask], memory_order_acquire),
			entry);
	}
	if (!done) {
		if (!insert_in_new_group(atomic_load_explicit(&self.level[levels - 1],
							      memory_order_acquire),
					 hash, entry))
			return false;
		grow();
	}
	filter_publish(hash);
	next = atomic_load_explicit(&self.next, memory_order_acquire);
	if (UNLIKELY(next))
		copy_step(next);
	return true;
}

void livemap_pin(const void *ptr)
{
	const struct live pin = { .address = (uintptr_t)ptr };

	livemap_insert(&pin);
}

bool livemap_take(uintptr_t address, struct live *out)
{
	uint32_t hash = livemap_hash(address);
	unsigned levels = atomic_load_explicit(&self.levels, memory_order_acquire);

	if (address <= CLAIMED)
		return false;
	for (unsigned l = levels; l-- > 0;) {
		struct level *level = atomic_load_explicit(&self.level[l], memory_order_acquire);
		struct group *g =
			atomic_load_explicit(&level->set[hash & level->mask], memory_order_acquire);

		for (; g; g = atomic_load_explicit(&g->next, memory_order_acquire)) {
			for (int i = 0; i < WAYS; i++) {
				uint64_t meta;

				if (atomic_load_explicit(&g->key[i], memory_order_acquire) != address)
					continue;
				/* again after livemap_thin rewrote the epoch */
				while (slot_read(g, i, out, &meta)) {
					if (!slot_end(g, i, meta))
						continue;
					out->address = address;
					filter_retract(hash);
					return true;
				}
				return false; /* thinned out meanwhile */
			}
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

	for (unsigned l = 0; l < levels; l++) {
		struct level *level = atomic_load_explicit(&self.level[l], memory_order_acquire);
		struct group *g =
			atomic_load_explicit(&level->set[hash & level->mask], memory_order_acquire);

		for (; g; g = atomic_load_explicit(&g->next, memory_order_acquire))
			for (int i = 0; i < WAYS; i++)
				removed += thin_slot(g, i, keep, done);
	}
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

	for (unsigned l = 0; l < levels; l++) {
		struct level *level = atomic_load_explicit(&self.level[l], memory_order_acquire);

		for (uint32_t s = 0; s <= level->mask; s++) {
			struct group *g = atomic_load_explicit(&level->set[s], memory_order_acquire);

			for (; g; g = atomic_load_explicit(&g->next, memory_order_acquire))
				visit_group(g, visit, context);
		}
	}
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
