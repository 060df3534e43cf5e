/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of encode/trace_perfetto.c: packets, and the texts and stacks that events name by their ids
 * (encode/perfetto_ids.c). Context: agent.
 */
#ifndef ENCODE_PERFETTO_IDS_H
#define ENCODE_PERFETTO_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode/buffered.h"
#include "encode/locations.h"
#include "encode/perfetto.pb-c.h"
#include "encode/trace_encoder.h"

typedef Perfetto__TracePacket packet_msg;
typedef Perfetto__TrackEvent event_msg;
typedef Perfetto__InternedData interned_msg;

enum {
	PERFETTO_IDS_BEGIN = 1, /* flags of a packet */
	PERFETTO_IDS_USED = 2,
	PERFETTO_FIRST_TEXT = 8, /* ids of texts of the tables; smaller ones are names that the encoder has */
	PERFETTO_STACK_TEXT = 8192, /* longer ones are cut at a frame */
};

/* What an id was sent as. */
enum { AS_EVENT = 1, AS_FUNCTION = 2, AS_PATH = 4, AS_VALUE = 8 };

struct trace_private {
	ProtobufCBuffer base;
	struct buffered buffered;
	int32_t pid;
	uint8_t *texts; /* by id: AS_... */
	size_t texts_room;
	uint8_t *stacks; /* by id: was sent */
	size_t stacks_room;
	struct locations frames; /* by address and function text */
	struct trace_frame list[TRACE_FRAMES_MAX];
	char text[PERFETTO_STACK_TEXT];
};

/* enc->own is there, and nothing has failed (enc->err). */
bool perfetto_made(struct trace_encoder *enc);
void perfetto_drop(struct trace_encoder *enc);

void perfetto_put(struct trace_encoder *enc, packet_msg *packet);

/* The id of a text as an event's name, function or path; sent if it is new. */
uint64_t perfetto_text(struct trace_encoder *enc, uint32_t text, uint8_t as);

/* Sends a stack if it is new. Its id as a call stack is that of the tables. */
void perfetto_stack(struct trace_encoder *enc, uint32_t stack);
/* The id of its text, as an annotation's value: odd, those of other texts are even. */
static inline uint64_t perfetto_stack_text(uint32_t stack)
{
	return (uint64_t)stack * 2 + 1;
}

#endif
