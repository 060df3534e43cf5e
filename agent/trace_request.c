/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/trace_request.h"

#include <string.h>

#include "agent/base/attr.h"
#include "agent/endpoint.h"
#include "agent/http/server.h"
#include "agent/options.h"
#include "encode/trace_encoder.h"

/* A decimal number as strconv.ParseFloat reads it, in ns; anything else, and what is not above 0, is 1 s.
 * UINT64_MAX: more than can be. */
static uint64_t seconds_of(const struct exchange *x)
{
	const uint64_t second = 1000000000;
	bool digits, negative;
	double value;
	int exponent = 0, sign = 1;
	char text[64];
	const char *c = text;

	if (request_query(&x->request, "seconds", text, sizeof(text)) <= 0)
		return second;
	negative = *c == '-';
	c += *c == '-' || *c == '+';
	if (!strcmp(c, "inf") || !strcmp(c, "Inf"))
		return negative ? second : UINT64_MAX;
	c = endpoint_decimal(c, &value);
	digits = c != NULL;
	if (digits && (*c == 'e' || *c == 'E')) {
		c++;
		sign = *c == '-' ? -1 : 1;
		c += *c == '-' || *c == '+';
		digits = *c >= '0' && *c <= '9';
		for (; *c >= '0' && *c <= '9' && exponent < 400; c++)
			exponent = exponent * 10 + (*c - '0');
	}
	if (!digits || *c || negative)
		return second;
	for (; exponent; exponent--)
		value = sign > 0 ? value * 10 : value / 10;
	value *= 1e9;
	if (value < 1)
		return value > 0 ? 1 : second;
	return value < 1e18 ? (uint64_t)value : UINT64_MAX;
}

static const struct trace_format *format_of(const struct exchange *x)
{
	static const struct trace_format *const formats[] = { &trace_v1, &trace_v2, &trace_perfetto };
	char word[16];

	if (request_query(&x->request, "format", word, sizeof(word)) <= 0)
		return &trace_v1;
	for (size_t i = 0; i < ARRAY_LEN(formats); i++)
		if (!strcmp(word, formats[i]->name))
			return formats[i];
	return NULL;
}

/* -1: unknown word. */
static int pool_of(const struct exchange *x)
{
	char word[16];

	if (request_query(&x->request, "procs", word, sizeof(word)) <= 0 || !strcmp(word, "threads"))
		return 0;
	return strcmp(word, "pool") ? -1 : 1;
}

const char *trace_request_read(const struct exchange *x, struct trace_request *out)
{
	int pool = pool_of(x);

	out->format = format_of(x);
	out->ns = seconds_of(x);
	out->pool = pool > 0;
	if (!out->format)
		return "invalid value for \"format\" - must be go1.19, go1.22 or perfetto";
	if (pool < 0)
		return "invalid value for \"procs\" - must be threads or pool";
	if (out->ns / 1000000000u > (uint64_t)options->max_seconds)
		return "invalid value for \"seconds\" - more than PPROF_MAX_SECONDS";
	return NULL;
}
