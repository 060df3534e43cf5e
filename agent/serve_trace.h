/* SPDX-License-Identifier: Apache-2.0 */
/* The row `trace` of the table of profiles. Context: agent. */
#ifndef AGENT_SERVE_TRACE_H
#define AGENT_SERVE_TRACE_H

struct exchange;
struct profile;

/* An execution trace of ?seconds= (1, may have a fraction) as ?format= go1.19 (default) or go1.22. */
void serve_trace(const struct profile *profile, struct exchange *exchange);

#endif
