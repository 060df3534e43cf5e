/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Perfetto's own format, TrackEvent: a thread is a track, its life a slice, its waits are slices in that;
 * who let it go is an arrow (a "flow") between two instants. What has not ended with the trace has no end.
 *
 * Texts and stacks are sent before the first packet that uses them, because the reader need not look
 * ahead; so names of addresses are asked for as stacks turn up, not afterwards as for the other formats.
 * Stacks are there twice: as callstacks, which only newer viewers show, and as a text beside the event.
 */
#include <string.h>

#include "agent/base/attr.h"
#include "encode/perfetto_ids.h"

enum { TRACK_PROCESS = 1, TRACK_HEAP = 2 };

enum category { CATEGORY_SYNC, CATEGORY_NET, CATEGORY_SLEEP, CATEGORY_CALL, CATEGORY_THREAD, CATEGORY_CPU, CATEGORY_LOG };
static const char *const categories[] = {
	[CATEGORY_SYNC] = "sync", [CATEGORY_NET] = "network", [CATEGORY_SLEEP] = "sleep",
	[CATEGORY_CALL] = "syscall",
	[CATEGORY_THREAD] = "thread", [CATEGORY_CPU] = "cpu", [CATEGORY_LOG] = "log",
};

/* Names of events and annotations that are not texts of the tables: ids below PERFETTO_FIRST_TEXT. */
enum { NAME_WAKES = 1, NAME_WOKEN, NAME_CREATES, NAME_SAMPLE };
static const char *const event_names[] = {
	[NAME_WAKES] = "wakes", [NAME_WOKEN] = "woken",
	[NAME_CREATES] = "creates thread", [NAME_SAMPLE] = "CPU sample",
};
enum { NOTE_STACK = 1, NOTE_MESSAGE };
static const char *const note_names[] = { [NOTE_STACK] = "stack", [NOTE_MESSAGE] = "message" };

/* ---- tracks ---- */

static void put_track(struct trace_encoder *enc, Perfetto__TrackDescriptor *track, uint64_t uuid)
{
	packet_msg packet = PERFETTO__TRACE_PACKET__INIT;

	track->has_uuid = 1;
	track->uuid = uuid;
	packet.track_descriptor = track;
	perfetto_put(enc, &packet);
}

static uint64_t track_of(uint64_t thread)
{
	return thread << 2 | 3;
}

static void put_thread(struct trace_encoder *enc, const struct trace_event *e)
{
	Perfetto__TrackDescriptor track = PERFETTO__TRACK_DESCRIPTOR__INIT;
	Perfetto__ThreadDescriptor thread = PERFETTO__THREAD_DESCRIPTOR__INIT;
	const char *name = strtab_get(&enc->tables->strings, e->text)->text;

	if (!*name && e->entry)
		name = trace_tables_leaf(enc->tables, e->entry);
	thread.has_pid = thread.has_tid = 1;
	thread.pid = enc->own->pid;
	thread.tid = (int32_t)(e->thread & 0xffffff); /* the rest makes it unique */
	thread.thread_name = (char *)(uintptr_t)name;
	track.thread = &thread;
	track.has_parent_uuid = 1;
	track.parent_uuid = TRACK_PROCESS;
	put_track(enc, &track, track_of(e->thread));
}

static void put_fixed_names(struct trace_encoder *enc)
{
	Perfetto__NamedId list[16] = { 0 }, *at[16];
	interned_msg data = PERFETTO__INTERNED_DATA__INIT;
	packet_msg packet = PERFETTO__TRACE_PACKET__INIT;
	size_t n = 0;

#define ADD(field, names, from)                                                       \
	do {                                                                          \
		data.field = &at[n];                                                  \
		for (size_t i = (from); i < ARRAY_LEN(names); i++, data.n_##field++) { \
			perfetto__named_id__init(&list[n]);                           \
			list[n].has_iid = 1;                                          \
			list[n].iid = i + !(from);                                    \
			list[n].name = (char *)(uintptr_t)(names)[i];                 \
			at[n] = &list[n];                                             \
			n++;                                                          \
		}                                                                     \
	} while (0)
	_Static_assert(ARRAY_LEN(categories) + ARRAY_LEN(event_names) + ARRAY_LEN(note_names) <= 16,
		       "room in the list");
	ADD(event_categories, categories, 0);
	ADD(event_names, event_names, 1);
	ADD(debug_annotation_names, note_names, 1);
#undef ADD
	packet.interned_data = &data;
	packet.sequence_flags = PERFETTO_IDS_BEGIN;
	perfetto_put(enc, &packet);
}

static void put_head(struct trace_encoder *enc, const struct trace_event *e)
{
	Perfetto__TrackDescriptor track = PERFETTO__TRACK_DESCRIPTOR__INIT;
	Perfetto__TrackDescriptor curve = PERFETTO__TRACK_DESCRIPTOR__INIT;
	Perfetto__ProcessDescriptor process = PERFETTO__PROCESS_DESCRIPTOR__INIT;
	Perfetto__CounterDescriptor counter = PERFETTO__COUNTER_DESCRIPTOR__INIT;

	put_fixed_names(enc);
	enc->own->pid = (int32_t)e->value;
	process.has_pid = 1;
	process.pid = enc->own->pid;
	process.process_name = (char *)(uintptr_t)strtab_get(&enc->tables->strings, e->text)->text;
	track.process = &process;
	put_track(enc, &track, TRACK_PROCESS);
	counter.has_unit = 1;
	counter.unit = PERFETTO__COUNTER_DESCRIPTOR__UNIT__UNIT_SIZE_BYTES;
	curve.name = (char *)"live heap";
	curve.has_parent_uuid = 1;
	curve.parent_uuid = TRACK_PROCESS;
	curve.counter = &counter;
	put_track(enc, &curve, TRACK_HEAP);
}

/* ---- events ---- */

/* One track event being put together, and what its lists point to. */
struct draft {
	packet_msg packet;
	event_msg event;
	uint64_t category, flow;
	Perfetto__DebugAnnotation note, *notes[1];
};

static void draft(struct draft *d, const struct trace_event *e, int type)
{
	perfetto__trace_packet__init(&d->packet);
	perfetto__track_event__init(&d->event);
	d->packet.has_timestamp = 1;
	d->packet.timestamp = e->ts;
	d->packet.track_event = &d->event;
	d->event.has_type = d->event.has_track_uuid = 1;
	d->event.type = type;
	d->event.track_uuid = track_of(e->thread);
}

static void name(struct draft *d, uint64_t id, enum category category)
{
	d->event.has_name_iid = 1;
	d->event.name_iid = id;
	d->category = (uint64_t)category + 1;
	d->event.n_category_iids = 1;
	d->event.category_iids = &d->category;
}

static void note(struct draft *d, uint64_t what, uint64_t value)
{
	perfetto__debug_annotation__init(&d->note);
	d->note.has_name_iid = d->note.has_string_value_iid = 1;
	d->note.name_iid = what;
	d->note.string_value_iid = value;
	d->notes[0] = &d->note;
	d->event.n_debug_annotations = 1;
	d->event.debug_annotations = d->notes;
}

static void put_draft(struct trace_encoder *enc, struct draft *d, uint32_t stack)
{
	if (stack) {
		perfetto_stack(enc, stack);
		d->event.has_callstack_iid = 1;
		d->event.callstack_iid = stack;
		note(d, NOTE_STACK, perfetto_stack_text(stack));
	}
	perfetto_put(enc, &d->packet);
}

/* The arrow that ends where this goroutine starts with the number after `seq`. */
static uint64_t flow_of(const struct trace_event *e, uint64_t seq)
{
	return e->g << 32 | (uint32_t)seq;
}

static void put_begin(struct trace_encoder *enc, const struct trace_event *e)
{
	static const enum category kinds[] = {
		[BLOCK_SYNC] = CATEGORY_SYNC, [BLOCK_COND] = CATEGORY_SYNC,
		[BLOCK_NET] = CATEGORY_NET, [BLOCK_SLEEP] = CATEGORY_SLEEP,
	};
	struct trace_lane *lane = trace_lane(enc, e->lane, e->thread);
	struct draft d;

	if (!lane)
		return;
	lane->waits = true;
	draft(&d, e, PERFETTO__TRACK_EVENT__TYPE__TYPE_SLICE_BEGIN);
	name(&d, perfetto_text(enc, e->text, AS_EVENT), e->op == OP_CALL ? CATEGORY_CALL : kinds[e->block]);
	put_draft(enc, &d, e->stack);
}

static void put_end(struct trace_encoder *enc, const struct trace_event *e)
{
	struct draft d;

	draft(&d, e, PERFETTO__TRACK_EVENT__TYPE__TYPE_SLICE_END);
	perfetto_put(enc, &d.packet);
}

static void end_flow(struct draft *d, const struct trace_event *e)
{
	d->flow = flow_of(e, e->seq - 1);
	d->event.n_terminating_flow_ids = e->linked;
	d->event.terminating_flow_ids = &d->flow;
}

/* The thread begins, or goes on after a wait. */
static void put_start(struct trace_encoder *enc, const struct trace_event *e)
{
	struct trace_lane *lane = trace_lane(enc, e->lane, e->thread);
	struct draft d;

	if (!lane)
		return;
	if (e->seq == 1) {
		put_thread(enc, e);
		lane->known = true;
		draft(&d, e, PERFETTO__TRACK_EVENT__TYPE__TYPE_SLICE_BEGIN);
		trace_tables_leaf(enc->tables, e->entry);
		name(&d, perfetto_text(enc, enc->tables->stacks[e->entry - 1].leaf, AS_EVENT), CATEGORY_THREAD);
		end_flow(&d, e);
		put_draft(enc, &d, 0);
		return;
	}
	if (lane->waits)
		put_end(enc, e);
	lane->waits = false;
	if (!e->linked)
		return;
	draft(&d, e, PERFETTO__TRACK_EVENT__TYPE__TYPE_INSTANT);
	d.packet.timestamp++; /* not inside of the wait */
	name(&d, NAME_WOKEN, CATEGORY_SYNC);
	end_flow(&d, e);
	put_draft(enc, &d, 0);
}

static void put_instant(struct trace_encoder *enc, const struct trace_event *e, uint64_t id,
			enum category category)
{
	struct draft d;

	draft(&d, e, PERFETTO__TRACK_EVENT__TYPE__TYPE_INSTANT);
	name(&d, id, category);
	if (e->op == OP_CREATE || e->op == OP_UNBLOCK) {
		d.flow = flow_of(e, e->seq);
		d.event.n_flow_ids = 1;
		d.event.flow_ids = &d.flow;
	}
	if (e->op == OP_LOG)
		note(&d, NOTE_MESSAGE, perfetto_text(enc, e->text2, AS_VALUE));
	put_draft(enc, &d, e->op == OP_LOG ? 0 : e->stack);
}

static void put_heap(struct trace_encoder *enc, const struct trace_event *e)
{
	struct draft d;

	draft(&d, e, PERFETTO__TRACK_EVENT__TYPE__TYPE_COUNTER);
	d.event.track_uuid = TRACK_HEAP;
	d.event.has_counter_value = 1;
	d.event.counter_value = (int64_t)e->value;
	perfetto_put(enc, &d.packet);
}

static void put(struct trace_encoder *enc, const struct trace_event *e)
{
	if (!perfetto_made(enc))
		return;
	switch (e->op) {
	case OP_PROC_IS:
		put_head(enc, e);
		break;
	case OP_CREATE:
		if (e->lane)
			put_instant(enc, e, NAME_CREATES, CATEGORY_THREAD);
		break;
	case OP_START:
		put_start(enc, e);
		break;
	case OP_BLOCK:
	case OP_CALL:
		put_begin(enc, e);
		break;
	case OP_UNBLOCK:
		if (e->thread != e->g)
			put_instant(enc, e, NAME_WAKES, CATEGORY_SYNC);
		break;
	case OP_END:
		put_end(enc, e);
		break;
	case OP_SAMPLE: /* one of a thread that does not run yet has no place */
		if (e->lane < enc->n_lanes && enc->lanes[e->lane].known)
			put_instant(enc, e, NAME_SAMPLE, CATEGORY_CPU);
		break;
	case OP_HEAP:
		put_heap(enc, e);
		break;
	case OP_LOG:
		put_instant(enc, e, perfetto_text(enc, e->text, AS_EVENT), CATEGORY_LOG);
		break;
	case OP_PROCS:
	case OP_PROC_START:
	case OP_PROC_STOP:
	case OP_STOP:
	case OP_CALL_END: /* START ends the slice */
		break;
	}
}

static void footer(struct trace_encoder *enc, uint64_t ts)
{
	int err = perfetto_made(enc) ? buffered_flush(&enc->own->buffered) : 0;

	if (!enc->err)
		enc->err = err;
}

const struct trace_format trace_perfetto = {
	.name = "perfetto",
	.by_thread = true,
	.event = put,
	.footer = footer,
	.drop = perfetto_drop,
};
