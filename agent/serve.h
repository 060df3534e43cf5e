/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How each kind of endpoint is served: the `serve` column of the table of profiles.
 * Context: agent.
 */
#ifndef AGENT_SERVE_H
#define AGENT_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/http/server.h"
#include "encode/desc.h"

struct exchange;
struct profile;
struct request;
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
/* As Go reads ?seconds= of a CPU profile: anything but a positive integer means 30. */
int64_t serve_window(const struct request *request);
/* The errors of the parameters that all profiles with ?seconds= and ?debug= have in common: answers and
 * returns false. Else the two are set, 0 when absent. */
bool serve_parameters(struct exchange *exchange, int64_t *out_seconds, int64_t *out_debug);
/* The text of the 400 for more ?seconds= than PPROF_MAX_SECONDS. */
extern const char serve_too_long[];
/* 500: the budget is spent, or there is no /proc. For a job that has just begun or is under way. */
enum job_state serve_no_memory(struct exchange *exchange);
/* ?labels=1, or PPROF_LABELS=1: samples carry their thread's name and number. */
bool serve_wants_labels(const struct request *request);
/* ?symbolize=, or PPROF_SYMBOLIZE. */
enum symbolize serve_symbolize(const struct exchange *exchange);
/* What a step returns that waits for a descriptor (-1: none) and until exchange->wake_ns. */
enum job_state serve_wait(struct exchange *exchange, int fd);
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
