/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hooks cannot tell a trace: where threads slept when it began, and where those sleep whose wait has
 * not ended. They are looked at (collect/peek.h) before and after. Context: agent.
 */
#ifndef AGENT_TRACE_ASLEEP_H
#define AGENT_TRACE_ASLEEP_H

#include <stdbool.h>
#include <stdint.h>

struct peeker;
struct symbols;
struct thread;
struct trace_record;

/* A wait of a thread that sleeps, with libc's frames still. *out_stamp: as long as task_stamp says this, it is
 * in it. false: it runs, or cannot be looked at. */
bool trace_asleep_look(struct peeker *peeker, const struct thread *thread, struct trace_record *out,
		       uint64_t *out_stamp);

/* Cuts libc's own frames around the system call. */
void trace_asleep_cut(struct symbols *symbols, struct trace_record *wait);

/* wait: one of the thread that has not ended, as tracebuf_waits filled it: gets its stack where only the
 * function is known. */
void trace_asleep_complete(struct peeker *peeker, struct symbols *symbols, struct thread *thread,
			   struct trace_record *wait);

#endif
