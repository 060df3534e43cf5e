/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/collect/snapshot.h"

#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "agent/collect/buckets.h"

enum { ROOM_FIRST = 256 };

struct snapshot *snapshot_new(void)
{
	struct snapshot *s = mem_zalloc(sizeof(*s));

	if (!s)
		return NULL;
	s->time_ns = sys_clock_ns(CLOCK_REALTIME);
	s->mono_ns = sys_clock_ns(CLOCK_MONOTONIC);
	return s;
}

void snapshot_drop(struct snapshot *snapshot)
{
	if (!snapshot)
		return;
	mem_free(snapshot->samples);
	mem_free(snapshot);
}

bool sample_is_zero(const struct sample *sample)
{
	for (int i = 0; i < SERIES_VALUES; i++)
		if (sample->value[i])
			return false;
	return true;
}

bool snapshot_add(struct snapshot *snapshot, const struct sample *sample)
{
	if (snapshot->n == snapshot->room) {
		size_t room = snapshot->room ? snapshot->room * 2 : ROOM_FIRST;
		struct sample *grown = mem_realloc(snapshot->samples, room * sizeof(*grown));

		if (!grown) {
			snapshot->incomplete = true;
			return false;
		}
		snapshot->samples = grown;
		snapshot->room = room;
	}
	snapshot->samples[snapshot->n++] = *sample;
	return true;
}

struct snapshot *snapshot_take(enum series series,
			       void (*scale)(const struct bucket *bucket, struct sample *sample))
{
	struct snapshot *s = snapshot_new();

	if (!s)
		return NULL;
	for (const struct bucket *b = buckets_first(series); b; b = bucket_next(b)) {
		struct sample sample = { .stack = b->stack, .key = b->key, .tag = b->tag };

		if (scale) {
			scale(b, &sample);
		} else {
			for (int i = 0; i < SERIES_VALUES; i++)
				sample.value[i] =
					atomic_load_explicit(&b->value[i], memory_order_relaxed);
		}
		if (!sample_is_zero(&sample) && !snapshot_add(s, &sample))
			break;
	}
	return s;
}

static uint64_t identity_hash(const struct sample *s)
{
	uint64_t h = ((uintptr_t)s->stack >> 4) * 0x9e3779b97f4a7c15u;

	h ^= ((uint64_t)s->key << 32 ^ s->tag) * 0xff51afd7ed558ccdu;
	return h ^ (h >> 32);
}

static bool same_identity(const struct sample *a, const struct sample *b)
{
	return a->stack == b->stack && a->key == b->key && a->tag == b->tag;
}

/* Open addressing over the samples of `of`: slot = index + 1. */
static uint32_t *build_index(const struct snapshot *of, size_t *out_mask)
{
	size_t slots = 16;
	uint32_t *index;

	while (slots < of->n * 2)
		slots *= 2;
	index = mem_zalloc(slots * sizeof(*index));
	if (!index)
		return NULL;
	*out_mask = slots - 1;
	for (size_t i = 0; i < of->n; i++) {
		size_t at = identity_hash(&of->samples[i]) & *out_mask;

		while (index[at])
			at = (at + 1) & *out_mask;
		index[at] = (uint32_t)i + 1;
	}
	return index;
}

bool snapshot_fold_tags(struct snapshot *s)
{
	size_t mask = 16, kept = 0;
	uint32_t *index;
	bool any = false;

	for (size_t i = 0; i < s->n && !any; i++)
		any = s->samples[i].tag != 0;
	if (!any)
		return true;
	while (mask < s->n * 2)
		mask *= 2;
	index = mem_zalloc(mask-- * sizeof(*index));
	if (!index)
		return false;
	for (size_t i = 0; i < s->n; i++) {
		struct sample sample = s->samples[i];
		size_t at;

		sample.tag = 0;
		at = identity_hash(&sample) & mask;
		while (index[at] && !same_identity(&s->samples[index[at] - 1], &sample))
			at = (at + 1) & mask;
		if (!index[at]) {
			s->samples[kept++] = sample;
			index[at] = (uint32_t)kept;
			continue;
		}
		for (int v = 0; v < SERIES_VALUES; v++)
			s->samples[index[at] - 1].value[v] += sample.value[v];
	}
	s->n = kept;
	mem_free(index);
	return true;
}

static void drop_zero_rows(struct snapshot *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->n; i++)
		if (!sample_is_zero(&s->samples[i]))
			s->samples[kept++] = s->samples[i];
	s->n = kept;
}

bool snapshot_subtract(struct snapshot *later, const struct snapshot *earlier)
{
	size_t mask, before = later->n;
	uint32_t *index = build_index(later, &mask);

	if (!index)
		return false;
	for (size_t i = 0; i < earlier->n; i++) {
		const struct sample *e = &earlier->samples[i];
		struct sample gone;
		size_t at = identity_hash(e) & mask;

		while (index[at] && !same_identity(&later->samples[index[at] - 1], e))
			at = (at + 1) & mask;
		if (index[at]) {
			struct sample *l = &later->samples[index[at] - 1];

			for (int v = 0; v < SERIES_VALUES; v++)
				l->value[v] -= e->value[v];
			continue;
		}
		/* it was there and is not any more: its whole value is negative */
		gone = *e;
		for (int v = 0; v < SERIES_VALUES; v++)
			gone.value[v] = -gone.value[v];
		if (!snapshot_add(later, &gone)) {
			later->n = before;
			mem_free(index);
			return false;
		}
	}
	mem_free(index);
	drop_zero_rows(later);
	return true;
}

struct snapshot *snapshot_copy(const struct snapshot *snapshot, unsigned values)
{
	struct snapshot *copy = snapshot_new();

	for (size_t i = 0; copy && i < snapshot->n; i++) {
		struct sample sample = snapshot->samples[i];

		for (unsigned v = values; v < SERIES_VALUES; v++)
			sample.value[v] = 0;
		if (!snapshot_add(copy, &sample)) {
			snapshot_drop(copy);
			return NULL;
		}
	}
	if (copy) {
		copy->time_ns = snapshot->time_ns;
		copy->mono_ns = snapshot->mono_ns;
	}
	return copy;
}
