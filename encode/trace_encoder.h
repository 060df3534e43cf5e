/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From legal events to bytes. Events come in an order that every reader accepts, with strictly growing
 * times (encode/trace_merge.h sees to that); an encoder only writes them down, per lane: v1 knows an
 * event by the processor that it happened on, v2 by the thread. Context: agent.
 *
 * Formats: what Go's runtime writes and internal/trace reads; Go has no other document of them than
 * runtime/trace.go (v1) and internal/trace/v2/event/go122 (v2).
 */
#ifndef ENCODE_TRACE_ENCODER_H
#define ENCODE_TRACE_ENCODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/sink.h"
#include "encode/trace_tables.h"

enum trace_op {
	OP_PROCS,      /* there are `value` processors: the very first event */
	OP_PROC_IS,    /* `proc` runs already at its first mention; text, value: name and pid of the process */
	OP_PROC_START,
	OP_PROC_STOP,
	OP_CREATE,     /* g with entry stack `entry`, by who runs on proc, or nobody */
	OP_START,      /* g runs on proc from now on; text: its label or 0; entry as in CREATE */
	OP_END,
	OP_STOP,       /* who runs on proc must pause */
	OP_BLOCK,      /* who runs on proc waits: `block`, text: reason for v2 */
	OP_CALL,       /* who runs on proc enters a system call that blocks; text: its name */
	OP_CALL_END,   /* g leaves it and may run */
	OP_UNBLOCK,    /* g may run, thanks to who runs on proc */
	OP_SAMPLE,     /* proc may be TRACE_NO_PROC */
	OP_HEAP,       /* `value` bytes */
	OP_LOG,	       /* by who runs on proc: key `text`, value `text2` */
};

enum trace_block { BLOCK_SYNC, BLOCK_COND, BLOCK_NET, BLOCK_SLEEP };

#define TRACE_NO_PROC UINT32_MAX

struct trace_event {
	enum trace_op op;
	uint64_t ts;	 /* ns since some moment before the first event */
	uint32_t proc;	 /* lane of v1 */
	uint32_t lane;	 /* lane of v2: number of the thread that the event happened in */
	uint64_t thread; /* id of that thread */
	uint64_t g;	 /* id of the goroutine: of a thread, too */
	uint64_t seq;	 /* START, UNBLOCK, in v1 CALL_END: the how manieth of them for this g */
	uint32_t stack, entry;
	uint32_t text, text2;
	uint64_t value;
	enum trace_block block;
	bool linked; /* START: some other thread's CREATE or UNBLOCK came before */
};

struct trace_lane {
	char *data;
	size_t used, room;
	uint64_t id;	   /* P or M */
	uint64_t start_ts; /* of the batch */
	uint64_t last_ts;
	bool known, waits; /* perfetto: the track is described, a wait's slice is open */
};

struct trace_encoder;
struct trace_private;

struct trace_format {
	const char *name;    /* as asked for */
	const char *header;  /* 13 characters; the file begins with them and three NULs. NULL: with nothing */
	bool by_thread;	     /* lanes */
	void (*event)(struct trace_encoder *enc, const struct trace_event *event);
	void (*flush)(struct trace_encoder *enc, struct trace_lane *lane);
	/* All lanes are flushed, tables come next. */
	void (*footer)(struct trace_encoder *enc, uint64_t ts);
	/* NULL: the format needs no tables at its end. */
	void (*string)(struct trace_encoder *enc, uint32_t id, const char *text, size_t size);
	void (*stack)(struct trace_encoder *enc, uint32_t id, const struct trace_frame *frames,
		      unsigned n);
	void (*end)(struct trace_encoder *enc);
	/* Gives back enc->own; may be NULL. */
	void (*drop)(struct trace_encoder *enc);
};

extern const struct trace_format trace_v1, trace_v2, trace_perfetto;

struct trace_encoder {
	const struct trace_format *format;
	struct sink *sink;
	struct trace_tables *tables;
	int err; /* the first */
	struct trace_lane *lanes;
	size_t n_lanes, lanes_room;
	struct trace_lane samples, table; /* v2: batches of their own kinds */
	uint32_t table_kind;
	struct trace_proc *procs; /* v2 */
	size_t n_procs, procs_room;
	struct trace_private *own; /* perfetto */
};

/* Writes the header. */
void trace_encoder_begin(struct trace_encoder *enc, const struct trace_format *format,
			 struct sink *sink, struct trace_tables *tables);
void trace_encoder_free(struct trace_encoder *enc);
/* Writes what is gathered, the lane of the agent (0) last, and the footer. */
void trace_encoder_footer(struct trace_encoder *enc, uint64_t ts);

/* --- for encoders --- */

/* One event being put together. */
struct trace_bytes {
	unsigned n;
	unsigned char at[160];
};
static inline void trace_put(struct trace_bytes *b, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		b->at[b->n++] = (unsigned char)(value | 0x80);
	b->at[b->n++] = (unsigned char)value;
}

/* The lane of a number, made if need be; NULL when out of memory. */
struct trace_lane *trace_lane(struct trace_encoder *enc, uint32_t number, uint64_t id);
/* false when out of memory. */
bool trace_append(struct trace_encoder *enc, struct trace_lane *lane, const void *data, size_t size);
void trace_out(struct trace_encoder *enc, const void *data, size_t size);

/* A lane is passed on when it holds this much: batches of v2 may have 65536 bytes, and a lane per
 * thread should be small. */
enum { TRACE_BATCH = 4096 };

#endif
