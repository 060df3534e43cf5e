/* SPDX-License-Identifier: Apache-2.0 */
/* "Write these bytes somewhere": the one output interface between rooms. Context: agent. */
#ifndef BASE_SINK_H
#define BASE_SINK_H

#include <stddef.h>
#include <string.h>

struct sink {
	/* Takes all size bytes, or returns -errno; after an error it keeps returning it. */
	int (*write)(struct sink *sink, const void *data, size_t size);
};

static inline int sink_write(struct sink *sink, const void *data, size_t size)
{
	return sink->write(sink, data, size);
}

static inline int sink_text(struct sink *sink, const char *text)
{
	return sink->write(sink, text, strlen(text));
}

#endif
