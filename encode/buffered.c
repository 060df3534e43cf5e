/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/buffered.h"

#include <string.h>

#include "agent/base/attr.h"

int buffered_flush(struct buffered *b)
{
	if (!b->err && b->used)
		b->err = sink_write(b->to, b->data, b->used);
	b->used = 0;
	return b->err;
}

int buffered_write(struct buffered *b, const void *data, size_t size)
{
	if (UNLIKELY(size > BUFFERED_SIZE - b->used)) {
		buffered_flush(b);
		if (size > BUFFERED_SIZE) {
			if (!b->err)
				b->err = sink_write(b->to, data, size);
			return b->err;
		}
	}
	memcpy(b->data + b->used, data, size);
	b->used += size;
	return b->err;
}

static int write_sink(struct sink *sink, const void *data, size_t size)
{
	return buffered_write(CONTAINER_OF(sink, struct buffered, sink), data, size);
}

void buffered_init(struct buffered *b, struct sink *to)
{
	b->sink.write = write_sink;
	b->to = to;
	b->used = 0;
	b->err = 0;
}
