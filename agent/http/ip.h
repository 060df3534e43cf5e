/* SPDX-License-Identifier: Apache-2.0 */
/* Numeric IP addresses as text. Context: agent, init. */
#ifndef HTTP_IP_H
#define HTTP_IP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IP_TEXT_MAX = 46 };

/* Strict dotted quad: four decimal numbers without leading zeros. `out` may be written even when
 * the answer is false. */
bool ip_parse_v4(const char *at, size_t size, uint8_t out[4]);
/* RFC 4291 section 2.2, all forms; no zone, no brackets. As above. */
bool ip_parse_v6(const char *at, size_t size, uint8_t out[16]);

/* "192.0.2.1"; "2001:db8::1" (RFC 5952). */
void ip_print_v4(const uint8_t ip[4], char out[IP_TEXT_MAX]);
void ip_print_v6(const uint8_t ip[16], char out[IP_TEXT_MAX]);

#endif
