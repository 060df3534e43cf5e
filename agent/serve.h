/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How each kind of endpoint is served: the `serve` column of the table of profiles.
 * Context: agent.
 */
#ifndef AGENT_SERVE_H
#define AGENT_SERVE_H

#include <stdint.h>

struct exchange;
struct profile;
struct snapshot;
struct comments;

/* The CPU profile: samples for ?seconds= (30), ?hz=. */
void serve_cpu(const struct profile *profile, struct exchange *exchange);
/* A snapshot, or with ?seconds= the difference of two; ?debug= for text. */
void serve_named(const struct profile *profile, struct exchange *exchange);
/* What came since the previous request for the same path: the server-side deltas that Grafana Alloy
 * asks for (godeltaprof). The first answer holds everything since start. */
void serve_since_last(const struct profile *profile, struct exchange *exchange);
/* The same for what is taken over ?seconds= (30): the snapshot is the window. */
void serve_over(const struct profile *profile, struct exchange *exchange);
/* 501 and a sentence. */
void serve_missing(const struct profile *profile, struct exchange *exchange);

void serve_index(const struct profile *profile, struct exchange *exchange);
void serve_cmdline(const struct profile *profile, struct exchange *exchange);
void serve_symbol(const struct profile *profile, struct exchange *exchange);
void serve_agent(const struct profile *profile, struct exchange *exchange);

/* /debug/pprof/child/PID/REST: forwarded to that process. rest begins behind "child/". */
void serve_child(struct exchange *exchange, const char *rest);

/* Forgets what serve_since_last kept. Context: child. */
void serve_child_process(void);

/* A CPU snapshot counts periods: fills in the time. And what such a profile says of itself. */
void serve_cpu_values(struct snapshot *snapshot, uint64_t period_ns);
void serve_cpu_comments(struct comments *comments);

#endif
