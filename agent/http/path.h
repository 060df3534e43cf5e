/* SPDX-License-Identifier: Apache-2.0 */
/* Decoded request paths: the canonical form that Go's ServeMux redirects to. Context: agent. */
#ifndef HTTP_PATH_H
#define HTTP_PATH_H

#include <stdbool.h>
#include <stddef.h>

/* Writes the path without empty, "." and ".." elements, with one leading '/' and the trailing one
 * kept; `out` has room for strlen(path) + 2 bytes and may not be `path`. True when it differs. */
bool path_clean(const char *path, char *out);

/* Percent-encodes what may not stand in the path of a Location header or would be markup. Writes at
 * most size bytes, NUL included; returns the length of the whole text. */
size_t path_escape(const char *path, char *out, size_t size);

#endif
