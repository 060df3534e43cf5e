/* SPDX-License-Identifier: Apache-2.0 */
/*
 * printf's useful half without stdio, locale or allocation (hazard J12).
 *
 * Conversions: %s %.*s %c %d %u %ld %lu %lld %llu %zu %zd %x %lx %llx %p %f %%, a width with or
 * without a leading 0 or '-' for all of them, .N for %f (default 3) and %s. %f is exact to
 * |x| < 2^63 and at most 9 decimals.
 *
 * Context: signal, hook, agent, init, child.
 */
#ifndef BASE_FMT_H
#define BASE_FMT_H

#include <stdarg.h>
#include <stddef.h>

#include "agent/base/attr.h"

struct sink;

/* Writes at most size bytes, always ends with NUL (size > 0). Returns the length that the whole
 * text has, as snprintf does. */
size_t fmt_buf(char *buf, size_t size, const char *format, ...) PRINTF(3, 4);
size_t fmt_vbuf(char *buf, size_t size, const char *format, va_list args);

/* The same into a sink; any length. Returns what the sink returns. Context: agent. */
int fmt_sink(struct sink *sink, const char *format, ...) PRINTF(2, 3);

#endif
