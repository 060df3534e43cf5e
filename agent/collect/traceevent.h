/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What threads note while an execution trace runs: one record per happening, of one size, written once
 * it is over. collect/tracebuf.h writes them, encode/trace_merge.h makes a trace of them.
 *
 * Units: ns of CLOCK_MONOTONIC. Threads go by their tag, which is never reused. Context: any.
 */
#ifndef COLLECT_TRACEEVENT_H
#define COLLECT_TRACEEVENT_H

#include <stdatomic.h>
#include <stdint.h>

struct stack;

enum trace_kind {
	TRACE_NOTHING, /* not written (yet) */
	TRACE_BEGIN,   /* a thread began: created at at_ns by `waker` with `stack`, ran at until_ns */
	TRACE_END,     /* it ended; `name` is what it was called */
	TRACE_WAIT,    /* waited from at_ns to until_ns (TRACE_NEVER: it still does) */
	TRACE_SAMPLE,  /* CPU sample at at_ns */
	TRACE_HEAP,    /* at at_ns there were `value` bytes of live heap */
};

enum trace_reason {
	TRACE_SYNC, /* a lock, condition, semaphore, barrier, thread */
	TRACE_SLEEP,
	TRACE_NET,  /* a descriptor that was to become ready */
	TRACE_CALL, /* a system call that is none of these: a file, a child */
	TRACE_IO,   /* of hooks only: TRACE_NET or TRACE_CALL, as the descriptor is */
};

#define TRACE_NEVER UINT64_MAX
enum { TRACE_NAME = 16 }; /* with its NUL: TASK_COMM_LEN of prctl(2) */

struct trace_record {
	_Atomic uint8_t kind; /* enum trace_kind; stored last */
	uint8_t reason;	      /* enum trace_reason */
	uint16_t spare;
	uint32_t tid;
	uint32_t tag;
	uint32_t waker; /* tag of who ended the wait (0: unknown) or created the thread */
	uint64_t at_ns;
	uint64_t until_ns;
	uint64_t woken_ns; /* WAIT: when the waker did it */
	union {
		struct {
			const struct stack *stack;
			const struct stack *waker_stack;
		};
		char name[TRACE_NAME];
	};
	uint64_t value; /* HEAP: bytes; BEGIN: address of the start routine */
};
_Static_assert(sizeof(struct trace_record) == 64, "one cache line");

#endif
