/* SPDX-License-Identifier: Apache-2.0 */
/* Queries against a second, simpler implementation of Go's rules. First line: key; rest: query. */
#include <errno.h>
#include <inttypes.h>

#include "agent/http/request.h"
#include "tests/fuzz/fuzz.h"

/* url.QueryUnescape; NULL when it fails. */
static char *unescape(const char *at, size_t size, size_t *out_size)
{
	char *out = malloc(size + 1);
	size_t n = 0;

	for (size_t i = 0; i < size; i++) {
		char c = at[i];

		if (c == '+')
			c = ' ';
		if (c == '%') {
			char hex[3] = {0};
			unsigned value;
			int used = 0;

			if (i + 2 < size)
				memcpy(hex, at + i + 1, 2);
			if (i + 2 >= size || strspn(hex, "0123456789abcdefABCDEF") != 2 ||
			    sscanf(hex, "%x%n", &value, &used) != 1) {
				free(out);
				return NULL;
			}
			c = (char)value;
			i += 2;
		}
		out[n++] = c;
	}
	out[n] = '\0';
	*out_size = n;
	return out;
}

/* The value, or NULL. */
static char *model(const char *query, size_t size, const char *key, size_t *out_size)
{
	for (size_t from = 0, to; from <= size; from = to + 1) {
		size_t equals, name_size, value_size;
		char *name, *value;
		bool match;

		for (to = from; to < size && query[to] != '&'; to++)
			;
		if (to == from || memchr(query + from, ';', to - from))
			continue;
		for (equals = from; equals < to && query[equals] != '='; equals++)
			;
		name = unescape(query + from, equals - from, &name_size);
		value = equals < to ? unescape(query + equals + 1, to - equals - 1, &value_size)
				    : unescape("", 0, &value_size);
		match = name && value && name_size == strlen(key) &&
			memcmp(name, key, name_size) == 0;
		free(name);
		if (match) {
			*out_size = value_size;
			return value;
		}
		free(value);
	}
	return NULL;
}

static int model_int(const char *value, size_t size, int64_t *out)
{
	const char *digits = value + (*value == '+' || *value == '-');
	char *end;

	if (strlen(value) != size || *digits == '\0' ||
	    strspn(digits, "0123456789") != strlen(digits))
		return -1;
	errno = 0;
	*out = strtoimax(value, &end, 10);
	return errno || *end ? -1 : 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *newline = memchr(data, '\n', size);
	size_t key_size = newline ? (size_t)(newline - data) : 0, want_size = 0;
	size_t query_size = newline ? size - key_size - 1 : 0;
	char *key, *query, *want, got[64];
	struct request r = {0};
	int64_t number = 0, want_number = 0;
	long n;

	if (!newline || memchr(data, '\0', key_size))
		return 0;
	key = calloc(1, key_size + 1);
	memcpy(key, data, key_size);
	query = exact_copy(newline + 1, query_size);
	r.query = (struct text){query, query_size};
	want = model(query, query_size, key, &want_size);
	n = request_query(&r, key, got, sizeof(got));
	if (!want) {
		MUST(n == -1 && request_query_int(&r, key, &number) == 0);
	} else {
		size_t shown = want_size < sizeof(got) ? want_size : sizeof(got) - 1;
		int is = want_size ? model_int(want, want_size, &want_number) : 0;

		MUST(n == (long)want_size && memcmp(got, want, shown) == 0 && got[shown] == '\0');
		MUST(request_query_int(&r, key, &number) == is);
		MUST(is != 1 || number == want_number);
	}
	free(want);
	free(query);
	free(key);
	return 0;
}
