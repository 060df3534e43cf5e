/* SPDX-License-Identifier: Apache-2.0 */
/* zlib as a sink, one gzip member, memory from base/mem.h. Context: agent. */
#ifndef ENCODE_GZIP_H
#define ENCODE_GZIP_H

#include "agent/base/sink.h"

struct gzip;

/* NULL: out of memory. Bytes written to gzip_sink() come out compressed at `to`. */
struct gzip *gzip_begin(struct sink *to);
struct sink *gzip_sink(struct gzip *gzip);
/* Ends the stream. 0 or the first error of `to`. */
int gzip_end(struct gzip *gzip);
void gzip_drop(struct gzip *gzip);

#endif
