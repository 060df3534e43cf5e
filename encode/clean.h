/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text that others may show: valid UTF-8 without control characters (hazard K5). Symbol names, file
 * names and thread names are arbitrary bytes that the profiled program chose. Context: agent.
 */
#ifndef ENCODE_CLEAN_H
#define ENCODE_CLEAN_H

#include <stddef.h>

/* Number of leading bytes that are clean already. */
size_t clean_span(const char *text, size_t len);

/* Writes the clean form, every bad byte or control character becoming U+FFFD, to out, which has room
 * for CLEAN_ROOM(len) bytes, NUL included. Returns its length. */
#define CLEAN_ROOM(len) ((len) * 3 + 1)
size_t clean_text(char *out, const char *text, size_t len);

/* The text itself if it is clean, else a clean copy. NULL when out of memory. */
struct pool;
const char *clean_copy(struct pool *pool, const char *text);

#endif
