/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/trace_encoder.h"

#include <errno.h>
#include <string.h>

#include "agent/base/mem.h"
#include "encode/grow.h"

void trace_out(struct trace_encoder *enc, const void *data, size_t size)
{
	int err = enc->err || !size ? 0 : sink_write(enc->sink, data, size);

	if (err)
		enc->err = err;
}

bool trace_append(struct trace_encoder *enc, struct trace_lane *lane, const void *data, size_t size)
{
	if (!grow_room(&lane->data, &lane->room, lane->used + size, 1)) {
		enc->err = -ENOMEM;
		return false;
	}
	memcpy(lane->data + lane->used, data, size);
	lane->used += size;
	return true;
}

struct trace_lane *trace_lane(struct trace_encoder *enc, uint32_t number, uint64_t id)
{
	size_t have = enc->n_lanes;

	if (number >= have) {
		if (!grow_room(&enc->lanes, &enc->lanes_room, (size_t)number + 1,
			       sizeof(*enc->lanes))) {
			enc->err = -ENOMEM;
			return NULL;
		}
		enc->n_lanes = (size_t)number + 1;
		memset(enc->lanes + have, 0, (enc->n_lanes - have) * sizeof(*enc->lanes));
	}
	enc->lanes[number].id = id;
	return &enc->lanes[number];
}

void trace_encoder_begin(struct trace_encoder *enc, const struct trace_format *format,
			 struct sink *sink, struct trace_tables *tables)
{
	char header[16] = { 0 };

	*enc = (struct trace_encoder){ .format = format, .sink = sink, .tables = tables };
	if (!format->header)
		return;
	memcpy(header, format->header, 13);
	trace_out(enc, header, sizeof(header));
}

void trace_encoder_footer(struct trace_encoder *enc, uint64_t ts)
{
	for (size_t i = 1; i < enc->n_lanes; i++)
		if (enc->lanes[i].used)
			enc->format->flush(enc, &enc->lanes[i]);
	if (enc->n_lanes && enc->lanes[0].used)
		enc->format->flush(enc, &enc->lanes[0]);
	enc->format->footer(enc, ts);
}

void trace_encoder_free(struct trace_encoder *enc)
{
	if (enc->format && enc->format->drop)
		enc->format->drop(enc);
	for (size_t i = 0; i < enc->n_lanes; i++)
		mem_free(enc->lanes[i].data);
	mem_free(enc->lanes);
	mem_free(enc->samples.data);
	mem_free(enc->table.data);
	mem_free(enc->procs);
	enc->lanes = NULL;
	enc->procs = NULL;
	enc->samples.data = enc->table.data = NULL;
	enc->n_lanes = 0;
}
