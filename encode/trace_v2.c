/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `go 1.22 trace`: one generation. The file is batches: 1, generation, thread, time, size, data. The
 * first byte of the data says of which kind it is: strings, stacks, CPU samples, the clock's frequency,
 * or else events of that thread in the order of time.
 */
#include <errno.h>
#include <string.h>

#include "encode/grow.h"
#include "encode/trace_encoder.h"

enum {
	EV_BATCH = 1,
	EV_STACKS = 2,
	EV_STACK = 3,
	EV_STRINGS = 4,
	EV_STRING = 5,
	EV_SAMPLES = 6,
	EV_SAMPLE = 7,
	EV_FREQUENCY = 8,
	EV_PROCS_CHANGE = 9,
	EV_PROC_START = 10,
	EV_PROC_STOP = 11,
	EV_PROC_STATUS = 13,
	EV_GO_CREATE = 14,
	EV_GO_START = 16,
	EV_GO_DESTROY = 17,
	EV_GO_STOP = 19,
	EV_GO_BLOCK = 20,
	EV_GO_UNBLOCK = 21,
	EV_SYSCALL_BEGIN = 22,
	EV_SYSCALL_END_BLOCKED = 24,
	EV_HEAP_ALLOC = 37,
	EV_GO_LABEL = 39,
	EV_USER_LOG = 44,

	GENERATION = 1,
	PROC_RUNNING = 1,
	PROC_IDLE = 2,
};

struct trace_proc {
	uint64_t seq;
	bool known;
};

static void batch(struct trace_encoder *enc, uint64_t thread, uint64_t ts, const void *data, size_t size)
{
	struct trace_bytes head = { 0 };

	head.at[head.n++] = EV_BATCH;
	trace_put(&head, GENERATION);
	trace_put(&head, thread);
	trace_put(&head, ts);
	trace_put(&head, size);
	trace_out(enc, head.at, head.n);
	trace_out(enc, data, size);
}

static void flush(struct trace_encoder *enc, struct trace_lane *lane)
{
	batch(enc, lane->id, lane->start_ts, lane->data, lane->used);
	lane->used = 0;
}

static void put_event(struct trace_encoder *enc, const struct trace_event *e, unsigned type, unsigned n,
		      const uint64_t *args)
{
	struct trace_lane *lane = trace_lane(enc, e->lane, e->thread);
	struct trace_bytes b = { 0 };

	if (!lane)
		return;
	if (!lane->used)
		lane->start_ts = lane->last_ts = e->ts;
	b.at[b.n++] = (unsigned char)type;
	trace_put(&b, e->ts - lane->last_ts);
	for (unsigned i = 0; i < n; i++)
		trace_put(&b, args[i]);
	lane->last_ts = e->ts;
	trace_append(enc, lane, b.at, b.n);
	if (lane->used >= TRACE_BATCH)
		flush(enc, lane);
}

#define PUT(type, ...)                                                                 \
	do {                                                                           \
		const uint64_t args_[] = { __VA_ARGS__ };                              \
		put_event(enc, e, type, sizeof(args_) / sizeof(args_[0]), args_);      \
	} while (0)

static struct trace_proc *proc_of(struct trace_encoder *enc, const struct trace_event *e)
{
	size_t have = enc->n_procs;

	if (e->proc >= have) {
		if (!grow_room(&enc->procs, &enc->procs_room, (size_t)e->proc + 1,
			       sizeof(*enc->procs))) {
			enc->err = -ENOMEM;
			return NULL;
		}
		enc->n_procs = (size_t)e->proc + 1;
		memset(enc->procs + have, 0, (enc->n_procs - have) * sizeof(*enc->procs));
	}
	return &enc->procs[e->proc];
}

static void start_proc(struct trace_encoder *enc, const struct trace_event *e, bool runs)
{
	struct trace_proc *proc = proc_of(enc, e);

	if (!proc)
		return;
	if (!proc->known)
		PUT(EV_PROC_STATUS, e->proc, runs ? PROC_RUNNING : PROC_IDLE);
	proc->known = true;
	if (!runs) {
		struct trace_event after = *e;

		/* its own moment: the two must not fall together */
		after.ts++;
		e = &after;
		PUT(EV_PROC_START, e->proc, ++proc->seq);
	}
}

static void put_sample(struct trace_encoder *enc, const struct trace_event *e)
{
	struct trace_lane *lane = &enc->samples;
	struct trace_bytes b = { 0 };

	if (!lane->used)
		b.at[b.n++] = EV_SAMPLES;
	lane->id = UINT64_MAX;
	lane->start_ts = 1;
	b.at[b.n++] = EV_SAMPLE;
	trace_put(&b, e->ts);
	trace_put(&b, e->thread);
	trace_put(&b, e->proc == TRACE_NO_PROC ? UINT64_MAX : e->proc);
	trace_put(&b, e->g);
	trace_put(&b, e->stack);
	trace_append(enc, lane, b.at, b.n);
	if (lane->used >= TRACE_BATCH)
		flush(enc, lane);
}

static void put(struct trace_encoder *enc, const struct trace_event *e)
{
	switch (e->op) {
	case OP_PROCS:
		PUT(EV_PROCS_CHANGE, e->value, e->stack);
		break;
	case OP_PROC_IS:
	case OP_PROC_START:
		start_proc(enc, e, e->op == OP_PROC_IS);
		break;
	case OP_PROC_STOP:
		put_event(enc, e, EV_PROC_STOP, 0, NULL);
		break;
	case OP_CREATE:
		PUT(EV_GO_CREATE, e->g, e->entry, e->stack);
		break;
	case OP_START:
		PUT(EV_GO_START, e->g, e->seq);
		if (e->text)
			PUT(EV_GO_LABEL, e->text);
		break;
	case OP_END:
		put_event(enc, e, EV_GO_DESTROY, 0, NULL);
		break;
	case OP_STOP:
		PUT(EV_GO_STOP, e->text, e->stack);
		break;
	case OP_BLOCK:
		PUT(EV_GO_BLOCK, e->text, e->stack);
		break;
	case OP_CALL: {
		struct trace_proc *proc = proc_of(enc, e);

		if (proc)
			PUT(EV_SYSCALL_BEGIN, ++proc->seq, e->stack);
		break;
	}
	case OP_CALL_END: /* the processor was given up */
		put_event(enc, e, EV_SYSCALL_END_BLOCKED, 0, NULL);
		break;
	case OP_UNBLOCK:
		PUT(EV_GO_UNBLOCK, e->g, e->seq, e->stack);
		break;
	case OP_SAMPLE:
		put_sample(enc, e);
		break;
	case OP_HEAP:
		PUT(EV_HEAP_ALLOC, e->value);
		break;
	case OP_LOG:
		PUT(EV_USER_LOG, 0, e->text, e->text2, e->stack);
		break;
	}
}

static void drain(struct trace_encoder *enc)
{
	if (enc->table.used)
		batch(enc, UINT64_MAX, 1, enc->table.data, enc->table.used);
	enc->table.used = 0;
}

static void footer(struct trace_encoder *enc, uint64_t ts)
{
	struct trace_bytes b = { 0 };

	if (enc->samples.used)
		flush(enc, &enc->samples);
	b.at[b.n++] = EV_FREQUENCY;
	trace_put(&b, 1000000000);
	batch(enc, UINT64_MAX, 1, b.at, b.n);
}

/* Begins a batch of this kind, unless one is open that has room. */
static void table(struct trace_encoder *enc, unsigned char kind)
{
	if (enc->table_kind != kind || enc->table.used >= TRACE_BATCH)
		drain(enc);
	enc->table_kind = kind;
	if (!enc->table.used)
		trace_append(enc, &enc->table, &kind, 1);
}

static void string(struct trace_encoder *enc, uint32_t id, const char *text, size_t size)
{
	struct trace_bytes b = { 0 };

	table(enc, EV_STRINGS);
	b.at[b.n++] = EV_STRING;
	trace_put(&b, id);
	trace_put(&b, size);
	trace_append(enc, &enc->table, b.at, b.n);
	trace_append(enc, &enc->table, text, size);
}

static void stack(struct trace_encoder *enc, uint32_t id, const struct trace_frame *frames, unsigned n)
{
	struct trace_bytes b = { 0 };

	table(enc, EV_STACKS);
	b.at[b.n++] = EV_STACK;
	trace_put(&b, id);
	trace_put(&b, n);
	trace_append(enc, &enc->table, b.at, b.n);
	for (unsigned i = 0; i < n; i++) {
		b.n = 0;
		trace_put(&b, frames[i].pc);
		trace_put(&b, frames[i].function);
		trace_put(&b, frames[i].file);
		trace_put(&b, frames[i].line);
		trace_append(enc, &enc->table, b.at, b.n);
	}
}

const struct trace_format trace_v2 = {
	.name = "go1.22",
	.header = "go 1.22 trace",
	.by_thread = true,
	.event = put,
	.flush = flush,
	.footer = footer,
	.string = string,
	.stack = stack,
	.end = drain,
};
