/* SPDX-License-Identifier: Apache-2.0 */
/* What a request for an execution trace asks for. Context: agent. */
#ifndef AGENT_TRACE_REQUEST_H
#define AGENT_TRACE_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

struct exchange;
struct trace_format;

struct trace_request {
	const struct trace_format *format;
	uint64_t ns; /* to record */
	bool pool;   /* struct trace_window */
};

/* NULL, or what is wrong with the request: the text of a 400. */
const char *trace_request_read(const struct exchange *x, struct trace_request *out);

#endif
