/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what threads noted, in any order and with whatever contradictions, to a trace that every reader
 * accepts: all happenings in the order of time through a state machine per thread. What is not
 * possible in the state that a thread is in is dropped and counted. Resumable like encode/pprof.h.
 *
 * Lanes: processor 0 is the agent's; a thread has the lowest processor that was free when it began, and
 * is its only user until it ends; or with `pool` until it waits, and then another one when it goes on: so
 * there are as many as ever ran at once. "Runs" means: is not in a wait that was recorded.
 *
 * Context: agent.
 */
#ifndef ENCODE_TRACE_MERGE_H
#define ENCODE_TRACE_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/sink.h"
#include "agent/collect/traceevent.h"
#include "encode/trace_encoder.h"

struct trace_merge;

struct trace_window {
	uint64_t start_ns, end_ns; /* CLOCK_MONOTONIC */
	uint32_t agent_tid, pid;
	const char *process; /* threads of this name get no label */
	bool pool;	     /* lanes of v1 and v2 are taken by who runs, not by who lives */
	const char *notice;  /* what the reader should know (text of a log message), or NULL */
};

/* A thread that lived at the beginning, or whose facts are known better than from records. */
struct trace_thread {
	uint32_t tag, tid;
	bool existed;	     /* at the beginning */
	uint64_t start;	     /* address of its start routine, 0: unknown or main */
	const char *entry;   /* name of its first function: NULL: that of `start` */
	const char *name;    /* NULL: unknown */
};

/* NULL: out of memory. names and the texts of `window` must live until the end. */
struct trace_merge *trace_merge_new(const struct trace_window *window, struct trace_names *names);
void trace_merge_drop(struct trace_merge *merge);

/* false when out of memory. Records are not copied. */
bool trace_merge_thread(struct trace_merge *merge, const struct trace_thread *thread);
bool trace_merge_add(struct trace_merge *merge, const struct trace_record *record);
/* Behind all records: one of a thread that slept when the window began, and what woke it was not recorded. It
 * sleeps until the first record of it, whose samples make that 10 ms of its CPU time at most. */
bool trace_merge_asleep(struct trace_merge *merge, struct trace_record *record);

/* All is added: where and how to write. false when out of memory. */
bool trace_merge_begin(struct trace_merge *merge, const struct trace_format *format, struct sink *sink);

/* Works for about budget_ns. 1: more to do; 0: all written; -errno. */
int trace_merge_step(struct trace_merge *merge, uint64_t budget_ns);

/* Happenings that were impossible where they stood. */
uint64_t trace_merge_dropped(const struct trace_merge *merge);

#endif
