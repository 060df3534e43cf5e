/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `go 1.19 trace`: read by every `go tool trace` since 1.19. All numbers are unsigned LEB128. An event is
 * its type with the number of arguments (3: and a length) in the upper two bits, the ticks since
 * the event before it in its batch, arguments. 1 tick is 1 ns.
 */
#include "encode/trace_encoder.h"

#include "agent/base/mem.h"

enum {
	EV_BATCH = 1,
	EV_FREQUENCY = 2,
	EV_STACK = 3,
	EV_GOMAXPROCS = 4,
	EV_PROC_START = 5,
	EV_PROC_STOP = 6,
	EV_GO_CREATE = 13,
	EV_GO_START = 14,
	EV_GO_END = 15,
	EV_GO_PREEMPT = 18,
	EV_GO_SLEEP = 19,
	EV_GO_UNBLOCK = 21,
	EV_GO_BLOCK_SYNC = 25,
	EV_GO_BLOCK_COND = 26,
	EV_GO_BLOCK_NET = 27,
	EV_GO_SYS_CALL = 28,
	EV_GO_SYS_EXIT = 29,
	EV_GO_SYS_BLOCK = 30,
	EV_HEAP_ALLOC = 33,
	EV_STRING = 37,
	EV_GO_START_LABEL = 41,
	EV_USER_LOG = 48,
	EV_CPU_SAMPLE = 49,
};

static void flush(struct trace_encoder *enc, struct trace_lane *lane)
{
	struct trace_bytes head = { 0 };

	head.at[head.n++] = EV_BATCH | 1 << 6;
	trace_put(&head, lane->id);
	trace_put(&head, lane->start_ts);
	trace_out(enc, head.at, head.n);
	trace_out(enc, lane->data, lane->used);
	lane->used = 0;
}

/* args behind the type; with 3 or more of them, their size comes before all. */
static void put_event(struct trace_encoder *enc, uint32_t proc, uint64_t ts, unsigned type, unsigned n,
		      const uint64_t *args, uint32_t value)
{
	struct trace_lane *lane = trace_lane(enc, proc, proc);
	struct trace_bytes whole = { 0 }, rest = { 0 };

	if (!lane)
		return;
	if (!lane->used)
		lane->start_ts = lane->last_ts = ts;
	trace_put(&rest, ts - lane->last_ts);
	for (unsigned i = 0; i < n; i++)
		trace_put(&rest, args[i]);
	lane->last_ts = ts;
	whole.at[whole.n++] = (unsigned char)(type | (n < 3 ? n : 3) << 6);
	if (n >= 3)
		trace_put(&whole, rest.n);
	trace_append(enc, lane, whole.at, whole.n);
	trace_append(enc, lane, rest.at, rest.n);
	if (value) { /* the text of a log message lies outside that size */
		const struct strtab_text *text = strtab_get(&enc->tables->strings, value);
		size_t size = text->len < TRACE_TEXT_MAX ? text->len : TRACE_TEXT_MAX;

		whole.n = 0;
		trace_put(&whole, size);
		trace_append(enc, lane, whole.at, whole.n);
		trace_append(enc, lane, text->text, size);
	}
	if (lane->used >= TRACE_BATCH)
		flush(enc, lane);
}

#define PUT(type, ...)                                                                          \
	do {                                                                                    \
		const uint64_t args_[] = { __VA_ARGS__ };                                       \
		put_event(enc, e->proc, e->ts, type, sizeof(args_) / sizeof(args_[0]), args_, 0); \
	} while (0)

static void put_sample(struct trace_encoder *enc, const struct trace_event *e)
{
	uint64_t proc = e->proc == TRACE_NO_PROC ? UINT64_MAX : e->proc;
	const uint64_t args[] = { e->ts, proc, e->g, e->stack };

	put_event(enc, 0, e->ts, EV_CPU_SAMPLE, 4, args, 0);
}

static void put_block(struct trace_encoder *enc, const struct trace_event *e)
{
	static const unsigned char types[] = {
		[BLOCK_SYNC] = EV_GO_BLOCK_SYNC,
		[BLOCK_COND] = EV_GO_BLOCK_COND,
		[BLOCK_NET] = EV_GO_BLOCK_NET,
		[BLOCK_SLEEP] = EV_GO_SLEEP,
	};

	PUT(types[e->block], e->stack);
}

static void put(struct trace_encoder *enc, const struct trace_event *e)
{
	switch (e->op) {
	case OP_PROCS:
		PUT(EV_GOMAXPROCS, e->value, e->stack);
		break;
	case OP_PROC_IS: /* nothing is to be said */
		break;
	case OP_PROC_START:
		PUT(EV_PROC_START, e->thread);
		break;
	case OP_PROC_STOP:
		put_event(enc, e->proc, e->ts, EV_PROC_STOP, 0, NULL, 0);
		break;
	case OP_CREATE:
		PUT(EV_GO_CREATE, e->g, e->entry, e->stack);
		break;
	case OP_START:
		if (e->text)
			PUT(EV_GO_START_LABEL, e->g, e->seq, e->text);
		else
			PUT(EV_GO_START, e->g, e->seq);
		break;
	case OP_END:
		put_event(enc, e->proc, e->ts, EV_GO_END, 0, NULL, 0);
		break;
	case OP_STOP:
		PUT(EV_GO_PREEMPT, e->stack);
		break;
	case OP_BLOCK:
		put_block(enc, e);
		break;
	case OP_CALL: {
		struct trace_event after = *e;

		PUT(EV_GO_SYS_CALL, e->stack);
		after.ts++;
		put_event(enc, e->proc, after.ts, EV_GO_SYS_BLOCK, 0, NULL, 0);
		break;
	}
	case OP_CALL_END: /* no other time than the event's */
		PUT(EV_GO_SYS_EXIT, e->g, e->seq, 0);
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
	case OP_LOG: {
		const uint64_t args[] = { 0, e->text, e->stack };

		put_event(enc, e->proc, e->ts, EV_USER_LOG, 3, args, e->text2);
		break;
	}
	}
}

static void drain(struct trace_encoder *enc)
{
	trace_out(enc, enc->table.data, enc->table.used);
	enc->table.used = 0;
}

/* Readers since 1.23 want every event inside a batch, tables too. */
static void footer(struct trace_encoder *enc, uint64_t ts)
{
	struct trace_bytes b = { 0 };

	b.at[b.n++] = EV_BATCH | 1 << 6;
	trace_put(&b, 0);
	trace_put(&b, ts);
	b.at[b.n++] = EV_FREQUENCY;
	trace_put(&b, 1000000000);
	trace_append(enc, &enc->table, b.at, b.n);
}

static void string(struct trace_encoder *enc, uint32_t id, const char *text, size_t size)
{
	struct trace_bytes b = { 0 };

	b.at[b.n++] = EV_STRING;
	trace_put(&b, id);
	trace_put(&b, size);
	trace_append(enc, &enc->table, b.at, b.n);
	trace_append(enc, &enc->table, text, size);
	if (enc->table.used >= TRACE_BATCH)
		drain(enc);
}

static void stack(struct trace_encoder *enc, uint32_t id, const struct trace_frame *frames, unsigned n)
{
	struct trace_lane body = { 0 };
	struct trace_bytes b = { 0 };

	trace_put(&b, id);
	trace_put(&b, n);
	trace_append(enc, &body, b.at, b.n);
	for (unsigned i = 0; i < n; i++) {
		b.n = 0;
		trace_put(&b, frames[i].pc);
		trace_put(&b, frames[i].function);
		trace_put(&b, frames[i].file);
		trace_put(&b, frames[i].line);
		trace_append(enc, &body, b.at, b.n);
	}
	b.n = 0;
	b.at[b.n++] = EV_STACK | 3 << 6;
	trace_put(&b, body.used);
	trace_append(enc, &enc->table, b.at, b.n);
	trace_append(enc, &enc->table, body.data, body.used);
	mem_free(body.data);
	if (enc->table.used >= TRACE_BATCH)
		drain(enc);
}

const struct trace_format trace_v1 = {
	.name = "go1.19",
	.header = "go 1.19 trace",
	.event = put,
	.flush = flush,
	.footer = footer,
	.string = string,
	.stack = stack,
	.end = drain,
};
