/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A frozen list of (stack, label, values): the only thing that crosses from collect/ to encode/.
 * Taken from a series without stopping anybody, made by subtracting two, or filled by hand.
 * Values are what the file will show: already scaled, already in the units of the profile.
 *
 * Context: agent.
 */
#ifndef COLLECT_SNAPSHOT_H
#define COLLECT_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/collect/series.h"

struct stack;
struct bucket;

struct sample {
	const struct stack *stack; /* stored for ever: never freed by a snapshot */
	uint32_t key;		   /* part of the identity; see series.h */
	uint32_t tag;		   /* part of the identity: thread tag or 0 */
	uint32_t skip;		   /* leaf frames that are not shown: below stack->depth */
	int64_t bytes;		   /* numeric label "bytes"; 0: no label */
	int64_t value[SERIES_VALUES];
};

struct snapshot {
	size_t n;
	size_t room;
	uint64_t time_ns; /* CLOCK_REALTIME when taken */
	uint64_t mono_ns; /* CLOCK_MONOTONIC when taken */
	bool incomplete;  /* memory ran out: samples are missing, and the answer must fail */
	struct sample *samples;
};

/* All its values are 0: it stands for nothing, and is not shown. */
bool sample_is_zero(const struct sample *sample);

/* An empty one to be filled by snapshot_add; NULL when out of memory. */
struct snapshot *snapshot_new(void);

/* Adds one sample. false when out of memory; then snapshot->incomplete is set. */
bool snapshot_add(struct snapshot *snapshot, const struct sample *sample);

/* All buckets of a series. `scale` turns the raw values of one bucket into those of the sample
 * (and may set sample->bytes); NULL copies them. Rows of zeros are left out. */
struct snapshot *snapshot_take(enum series series,
			       void (*scale)(const struct bucket *bucket, struct sample *sample));

/* later := later - earlier, by identity (stack, key, tag); rows of zeros disappear, negative values
 * stay. false when out of memory: then `later` is unchanged. */
bool snapshot_subtract(struct snapshot *later, const struct snapshot *earlier);

/* A copy in which only the first `values` values of each sample are kept, the others 0. NULL: out of
 * memory. */
struct snapshot *snapshot_copy(const struct snapshot *snapshot, unsigned values);

/* Forgets the tags: samples that differ in nothing else become one. false when out of memory. */
bool snapshot_fold_tags(struct snapshot *snapshot);

void snapshot_drop(struct snapshot *snapshot);

#endif
