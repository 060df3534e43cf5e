/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of event that are counted per stack, and what the values of each mean. */
#ifndef COLLECT_SERIES_H
#define COLLECT_SERIES_H

enum series {
	SERIES_CPU,	     /* value 0: periods of CPU time */
	SERIES_HEAP,	     /* key: size class; values: see collect/heap.h */
	SERIES_BLOCK,	     /* value 0: contentions, fixed point (collect/contention.h), 1: delay ns */
	SERIES_MUTEX,	     /* as SERIES_BLOCK, at the unlocker's stack */
	SERIES_THREADCREATE, /* value 0: threads created */
	SERIES_N
};

enum { SERIES_VALUES = 4 };

#endif
