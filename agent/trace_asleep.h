/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hooks cannot tell a trace: threads that sleep from its beginning to its end, and where those are
 * whose wait has not ended. They are looked at (collect/peek.h) when the trace is over. Context: agent.
 */
#ifndef AGENT_TRACE_ASLEEP_H
#define AGENT_TRACE_ASLEEP_H

#include <stdbool.h>
#include <stdint.h>

struct peeker;
struct symbols;
struct thread;
struct trace_record;

/* wait: one of the thread that has not ended, as tracebuf_waits filled it: gets the stack where only the
 * function is known. Or one of kind TRACE_NOTHING, made a wait for ever if the thread has not run since
 * task_stamp said `stamp` (0: it may have). false: it is no wait. */
bool trace_asleep_look(struct peeker *peeker, struct symbols *symbols, struct thread *thread,
		       uint64_t stamp, struct trace_record *wait);

#endif
