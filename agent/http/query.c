/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The query of a request as Go's url.ParseQuery and Request.FormValue see it: pairs are separated
 * by '&'; a pair with a ';' or a broken percent sequence does not exist; the first pair with the
 * key wins.
 */
#include "agent/http/request.h"

#include <string.h>

/* The next byte of percent-encoded text, or -1 at its end. */
static int next_byte(struct text *in)
{
	char c;

	if (in->size == 0)
		return -1;
	c = *in->at++;
	in->size--;
	if (c == '+')
		return ' ';
	if (c == '%') { /* valid_pair saw to it that two digits follow */
		c = (char)(request_hex_digit(in->at[0]) << 4 | request_hex_digit(in->at[1]));
		in->at += 2;
		in->size -= 2;
	}
	return (unsigned char)c;
}

static bool valid_pair(struct text pair)
{
	for (size_t i = 0; i < pair.size; i++) {
		if (pair.at[i] == ';')
			return false;
		if (pair.at[i] != '%')
			continue;
		if (pair.size - i < 3 || request_hex_digit(pair.at[i + 1]) < 0 ||
		    request_hex_digit(pair.at[i + 2]) < 0)
			return false;
		i += 2;
	}
	return true;
}

static bool is_key(struct text encoded, const char *key)
{
	int c;

	while ((c = next_byte(&encoded)) >= 0)
		if (*key == '\0' || (unsigned char)*key++ != c)
			return false;
	return *key == '\0';
}

/* The encoded value of the first pair with this key. */
static bool find_value(struct text query, const char *key, struct text *out)
{
	while (query.size > 0) {
		const char *end = memchr(query.at, '&', query.size);
		struct text pair = {query.at, end ? (size_t)(end - query.at) : query.size};
		size_t step = end ? pair.size + 1 : pair.size;
		const char *equals = memchr(pair.at, '=', pair.size);
		struct text name = {pair.at, equals ? (size_t)(equals - pair.at) : pair.size};

		query.at += step;
		query.size -= step;
		if (pair.size == 0 || !valid_pair(pair) || !is_key(name, key))
			continue;
		*out = (struct text){"", 0};
		if (equals)
			*out = (struct text){equals + 1, pair.size - name.size - 1};
		return true;
	}
	return false;
}

long request_query(const struct request *request, const char *key, char *buf, size_t size)
{
	struct text value;
	size_t n = 0;
	int c;

	if (size)
		buf[0] = '\0';
	if (!find_value(request->query, key, &value))
		return -1;
	while ((c = next_byte(&value)) >= 0) {
		if (n + 1 < size) {
			buf[n] = (char)c;
			buf[n + 1] = '\0';
		}
		n++;
	}
	return (long)n;
}

int request_query_int(const struct request *request, const char *key, int64_t *out)
{
	struct text value;
	bool negative = false;
	uint64_t limit = INT64_MAX, n = 0;
	int c;

	if (!find_value(request->query, key, &value) || value.size == 0)
		return 0;
	c = next_byte(&value);
	if (c == '+' || c == '-') {
		negative = c == '-';
		limit += negative;
		c = next_byte(&value);
	}
	if (c < 0)
		return -1;
	for (; c >= 0; c = next_byte(&value)) {
		unsigned digit = (unsigned)c - '0';

		if (digit > 9 || n > (limit - digit) / 10)
			return -1;
		n = n * 10 + digit;
	}
	*out = negative ? (int64_t)(0 - n) : (int64_t)n;
	return 1;
}
