/* SPDX-License-Identifier: Apache-2.0 */
/* A sink that gathers small writes for another one. Context: agent. */
#ifndef ENCODE_BUFFERED_H
#define ENCODE_BUFFERED_H

#include <stddef.h>

#include "agent/base/sink.h"

enum { BUFFERED_SIZE = 30 << 10 };

struct buffered {
	struct sink sink;
	struct sink *to;
	size_t used;
	int err; /* the first error of `to` */
	char data[BUFFERED_SIZE];
};

void buffered_init(struct buffered *buffered, struct sink *to);

/* Passes on what is gathered. 0 or the first error. */
int buffered_flush(struct buffered *buffered);

/* As sink_write(&buffered->sink, ...). */
int buffered_write(struct buffered *buffered, const void *data, size_t size);

#endif
