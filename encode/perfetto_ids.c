/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/perfetto_ids.h"

#include <errno.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "encode/grow.h"

/* ---- output ---- */

static void append(ProtobufCBuffer *base, size_t len, const uint8_t *data)
{
	buffered_write(&CONTAINER_OF(base, struct trace_private, base)->buffered, data, len);
}

void perfetto_put(struct trace_encoder *enc, packet_msg *packet)
{
	Perfetto__Trace trace = PERFETTO__TRACE__INIT;

	packet->has_trusted_packet_sequence_id = 1;
	packet->trusted_packet_sequence_id = 1;
	packet->has_sequence_flags = 1;
	packet->sequence_flags |= PERFETTO_IDS_USED;
	trace.n_packet = 1;
	trace.packet = &packet;
	perfetto__trace__pack_to_buffer(&trace, &enc->own->base);
	if (!enc->err)
		enc->err = enc->own->buffered.err;
}

static void put_interned(struct trace_encoder *enc, interned_msg *data)
{
	packet_msg packet = PERFETTO__TRACE_PACKET__INIT;

	packet.interned_data = data;
	perfetto_put(enc, &packet);
}

/* ---- texts and stacks, before they are used ---- */

/* Whether this is the first time; marks it. */
static bool is_new(struct trace_encoder *enc, uint8_t **bits, size_t *room, uint32_t id, uint8_t as)
{
	size_t had = *room;

	if (id >= had) {
		if (!grow_room(bits, room, (size_t)id + 1, 1)) {
			enc->err = -ENOMEM;
			return false;
		}
		memset(*bits + had, 0, *room - had);
	}
	if ((*bits)[id] & as)
		return false;
	(*bits)[id] |= as;
	return true;
}

uint64_t perfetto_text(struct trace_encoder *enc, uint32_t text, uint8_t as)
{
	const char *s = strtab_get(&enc->tables->strings, text)->text;
	Perfetto__NamedId name = PERFETTO__NAMED_ID__INIT, *names[] = { &name };
	Perfetto__InternedString string = PERFETTO__INTERNED_STRING__INIT, *strings[] = { &string };
	interned_msg data = PERFETTO__INTERNED_DATA__INIT;
	/* values of annotations: texts have even ids, stacks odd ones */
	uint64_t id = ((uint64_t)text + PERFETTO_FIRST_TEXT) << (as == AS_VALUE);

	if (!is_new(enc, &enc->own->texts, &enc->own->texts_room, text, as))
		return id;
	name.has_iid = string.has_iid = string.has_str = 1;
	name.iid = string.iid = id;
	name.name = (char *)(uintptr_t)s;
	string.str = (ProtobufCBinaryData){ strlen(s), (uint8_t *)(uintptr_t)s };
	data.event_names = names;
	data.n_event_names = as == AS_EVENT;
	data.function_names = data.source_paths = data.debug_annotation_string_values = strings;
	data.n_function_names = as == AS_FUNCTION;
	data.n_source_paths = as == AS_PATH;
	data.n_debug_annotation_string_values = as == AS_VALUE;
	put_interned(enc, &data);
	return id;
}

static uint64_t frame_id(struct trace_encoder *enc, const struct trace_frame *f)
{
	struct locations *known = &enc->own->frames;
	size_t n = known->n;
	Perfetto__Frame frame = PERFETTO__FRAME__INIT, *frames[] = { &frame };
	interned_msg data = PERFETTO__INTERNED_DATA__INIT;
	uint32_t id = locations_id(known, f->pc, f->function, 0);

	if (!id)
		enc->err = -ENOMEM;
	if (known->n == n)
		return id;
	frame.has_iid = frame.has_function_name_id = 1;
	frame.iid = id;
	frame.function_name_id = perfetto_text(enc, f->function, AS_FUNCTION);
	if (f->file) {
		frame.has_source_path_iid = 1;
		frame.source_path_iid = perfetto_text(enc, f->file, AS_PATH);
		frame.has_line_number = f->line > 0;
		frame.line_number = f->line;
	}
	data.n_frames = 1;
	data.frames = frames;
	put_interned(enc, &data);
	return id;
}

/* One line per frame, leaf first. */
static void stack_text(struct trace_encoder *enc, const struct trace_frame *list, unsigned n)
{
	struct strtab *strings = &enc->tables->strings;
	char *out = enc->own->text;
	size_t used = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < n; i++) {
		const char *function = strtab_get(strings, list[i].function)->text;
		const char *file = strtab_get(strings, list[i].file)->text;

		if (used + strlen(function) + strlen(file) + 20 > PERFETTO_STACK_TEXT)
			break;
		used += fmt_buf(out + used, PERFETTO_STACK_TEXT - used, "%s%s", i ? "\n" : "", function);
		if (*file)
			used += fmt_buf(out + used, PERFETTO_STACK_TEXT - used, " %s:%u", file, list[i].line);
	}
}

void perfetto_stack(struct trace_encoder *enc, uint32_t stack)
{
	struct trace_private *own = enc->own;
	Perfetto__Callstack callstack = PERFETTO__CALLSTACK__INIT, *callstacks[] = { &callstack };
	Perfetto__InternedString string = PERFETTO__INTERNED_STRING__INIT, *strings[] = { &string };
	interned_msg data = PERFETTO__INTERNED_DATA__INIT;
	uint64_t ids[TRACE_FRAMES_MAX];
	unsigned n;

	if (!is_new(enc, &own->stacks, &own->stacks_room, stack, 1))
		return;
	n = trace_tables_frames(enc->tables, stack, own->list);
	for (unsigned i = 0; i < n; i++)
		ids[n - 1 - i] = frame_id(enc, &own->list[i]);
	stack_text(enc, own->list, n);
	callstack.has_iid = string.has_iid = string.has_str = 1;
	callstack.iid = stack;
	callstack.n_frame_ids = n;
	callstack.frame_ids = ids;
	string.iid = perfetto_stack_text(stack);
	string.str = (ProtobufCBinaryData){ strlen(own->text), (uint8_t *)own->text };
	data.n_callstacks = data.n_debug_annotation_string_values = 1;
	data.callstacks = callstacks;
	data.debug_annotation_string_values = strings;
	put_interned(enc, &data);
}

/* ---- the encoder's own memory ---- */

bool perfetto_made(struct trace_encoder *enc)
{
	if (enc->own || enc->err)
		return !enc->err;
	enc->own = mem_zalloc(sizeof(*enc->own));
	if (!enc->own || !locations_init(&enc->own->frames)) {
		enc->err = -ENOMEM;
		return false;
	}
	enc->own->base.append = append;
	buffered_init(&enc->own->buffered, enc->sink);
	return true;
}

void perfetto_drop(struct trace_encoder *enc)
{
	if (!enc->own)
		return;
	locations_free(&enc->own->frames);
	mem_free(enc->own->texts);
	mem_free(enc->own->stacks);
	mem_free(enc->own);
	enc->own = NULL;
}
