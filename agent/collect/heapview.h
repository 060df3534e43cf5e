/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap as snapshots, and how sure their sums are. Values of a sample: see enum heap_column.
 * Context of everything here: agent.
 */
#ifndef COLLECT_HEAPVIEW_H
#define COLLECT_HEAPVIEW_H

#include <stdbool.h>
#include <stdint.h>

struct snapshot;

enum heap_column { ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE };

enum heap_view {
	HEAP_LIVE, /* in use now */
	HEAP_PEAK, /* in use: what was at the last peak of all live bytes */
	HEAP_OLD,  /* only blocks that have lived for at least an age; allocated = in use */
};

/* The label of a sample is the smallest size of its class. NULL when out of memory. Context: agent. */
struct snapshot *heapview_take(enum heap_view view, uint64_t age_ns);

/* Estimates -> numbers as sampled, from which a reader who knows the rate finds the estimates again
 * (the rule of pprof's text format). False, and nothing is changed, when the rate has changed since
 * start: then no single factor exists. Context: agent. */
bool heapview_unscale(struct snapshot *snapshot);

/* The sum of a column of bytes and how sure it is. */
struct heap_estimate {
	double bytes;
	double low, high; /* 95 % interval */
	double samples;	  /* behind it */
	double variance;
};
/* objects: ALLOC_OBJECTS or INUSE_OBJECTS. In a difference of snapshots the errors of what was freed
 * are not seen: only ALLOC_OBJECTS makes sense there. Context: agent. */
void heapview_estimate(const struct snapshot *snapshot, unsigned objects,
		       struct heap_estimate *out);

#endif
