/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/http/ip.h"

#include <string.h>

#include "agent/base/fmt.h"
#include "agent/http/request.h"

bool ip_parse_v4(const char *at, size_t size, uint8_t out[4])
{
	const char *end = at + size;

	for (int i = 0; i < 4; i++) {
		const char *from = at;
		unsigned value = 0;

		for (; at < end && *at >= '0' && *at <= '9' && at - from < 3; at++)
			value = value * 10 + (unsigned)(*at - '0');
		if (at == from || value > 255 || (*from == '0' && at - from > 1))
			return false;
		out[i] = (uint8_t)value;
		if (i < 3 && (at == end || *at++ != '.'))
			return false;
	}
	return at == end;
}

/* Groups of the text from `at`, at most `room` of them (two bytes each). *out_at is where they end:
 * at `end` or at a "::". Returns their number or -1. */
static int take_groups(const char **out_at, const char *end, uint8_t *out, int room)
{
	const char *at = *out_at;
	int n = 0;

	while (at < end && *at != ':') {
		const char *from = at;
		unsigned value = 0;
		int digit;

		if (n + 2 <= room && ip_parse_v4(at, (size_t)(end - at), out + 2 * n)) {
			*out_at = end;
			return n + 2;
		}
		for (; at < end && at - from < 4 && (digit = request_hex_digit(*at)) >= 0; at++)
			value = value << 4 | (unsigned)digit;
		if (at == from || n == room)
			return -1;
		out[2 * n] = (uint8_t)(value >> 8);
		out[2 * n + 1] = (uint8_t)value;
		n++;
		if (at == end || (end - at >= 2 && at[0] == ':' && at[1] == ':'))
			break;
		if (*at++ != ':' || at == end)
			return -1;
	}
	*out_at = at;
	return n;
}

bool ip_parse_v6(const char *at, size_t size, uint8_t out[16])
{
	const char *end = at + size;
	uint8_t tail[16];
	int front = take_groups(&at, end, out, 8), back;

	if (front < 0)
		return false;
	if (at == end)
		return front == 8;
	if (end - at < 2 || at[0] != ':' || at[1] != ':')
		return false;
	at += 2;
	back = take_groups(&at, end, tail, 8 - front);
	/* "::" stands for at least one group. */
	if (back < 0 || at != end || front + back > 7)
		return false;
	memset(out + 2 * front, 0, (size_t)(16 - 2 * front));
	memcpy(out + 16 - 2 * back, tail, (size_t)(2 * back));
	return true;
}

void ip_print_v4(const uint8_t ip[4], char out[IP_TEXT_MAX])
{
	fmt_buf(out, IP_TEXT_MAX, "%u.%u.%u.%u", ip[0], ip[1], ip[2], ip[3]);
}

void ip_print_v6(const uint8_t ip[16], char out[IP_TEXT_MAX])
{
	unsigned group[8];
	int best = -1, best_len = 1; /* a single zero group is written out */
	size_t n = 0;

	for (int i = 0; i < 8; i++)
		group[i] = (unsigned)ip[2 * i] << 8 | ip[2 * i + 1];
	for (int i = 0; i < 8; i++) {
		int len = 0;

		while (i + len < 8 && group[i + len] == 0)
			len++;
		if (len > best_len) {
			best = i;
			best_len = len;
		}
	}
	out[0] = '\0';
	for (int i = 0; i < 8; i++) {
		if (i == best) {
			n += fmt_buf(out + n, IP_TEXT_MAX - n, "::");
			i += best_len - 1;
			continue;
		}
		n += fmt_buf(out + n, IP_TEXT_MAX - n, "%s%x", n && out[n - 1] != ':' ? ":" : "",
			     group[i]);
	}
}
