/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap profiles as rows of agent/profiles.c: heap and allocs (the same four values), peakheap
 * (what was live at the highest point) and leak (what has lived longer than ?age=).
 * Values: alloc_objects, alloc_space, inuse_objects, inuse_space. Context: agent.
 */
#ifndef AGENT_HEAP_H
#define AGENT_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct comments;
struct profile;
struct request;
struct snapshot;

/* All three: with ?debug= they give what was sampled instead of estimates, as the text form wants it,
 * unless the rate has changed. NULL: out of memory. */
struct snapshot *heap_take_live(const struct profile *profile, const struct request *request);
struct snapshot *heap_take_peak(const struct profile *profile, const struct request *request);
struct snapshot *heap_take_leak(const struct profile *profile, const struct request *request);

/* Why a request to leak cannot be answered: the text of a 400, or NULL. */
const char *heap_refuse_leak(const struct request *request);

/* Profile.period: the mean distance between samples at start; it never changes, because profiles of
 * different periods cannot be compared. */
int64_t heap_period(void);

/* Number of samples, 95 % intervals, changes of the rate. */
void heap_comment(const struct snapshot *snapshot, struct comments *comments);

/* What follows '@' in the text form: "heap/<2 * rate>" when a reader is to scale the numbers. */
const char *heap_text_unit(char *buf, size_t size);

/* The block at the end of the text form: figures of the process and of the sampler. */
void heap_text_trailer(char *buf, size_t size);

/* Rows of a heap profile, for the index. */
uint64_t heap_count(void);

#endif
