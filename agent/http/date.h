/* SPDX-License-Identifier: Apache-2.0 */
/* Dates as HTTP writes them (RFC 9110 section 5.6.7). Context: agent. */
#ifndef HTTP_DATE_H
#define HTTP_DATE_H

#include <stdint.h>

enum { DATE_TEXT_MAX = 30 };

/* "Sun, 06 Nov 1994 08:49:37 GMT". Years up to 9999. */
void date_print(uint64_t unix_seconds, char out[DATE_TEXT_MAX]);

#endif
