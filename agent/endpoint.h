/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all kinds of endpoints read from a request, and the errors that they have in common. Context: agent.
 */
#ifndef AGENT_ENDPOINT_H
#define AGENT_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/http/server.h"
#include "encode/desc.h"

/* A decimal number without sign or exponent, "2", "2.", ".5". What stands behind it; NULL: there is none. */
const char *endpoint_decimal(const char *text, double *out);
/* As Go reads ?seconds= of a CPU profile: anything but a positive integer means 30. */
int64_t endpoint_window(const struct request *request);
/* The errors of the parameters that all profiles with ?seconds= and ?debug= have in common: answers and
 * returns false. Else the two are set, 0 when absent. */
bool endpoint_parameters(struct exchange *exchange, int64_t *out_seconds, int64_t *out_debug);
/* The text of the 400 for more ?seconds= than PPROF_MAX_SECONDS. */
extern const char endpoint_too_long[];
/* 500: the budget is spent, or there is no /proc. For a job that has just begun or is under way. */
enum job_state endpoint_no_memory(struct exchange *exchange);
/* ?labels=1, or PPROF_LABELS=1: samples carry their thread's name and number. */
bool endpoint_wants_labels(const struct request *request);
/* ?symbolize=, or PPROF_SYMBOLIZE. */
enum symbolize endpoint_symbolize(const struct exchange *exchange);
/* What a step returns that waits for a descriptor (-1: none) and until exchange->wake_ns. */
enum job_state endpoint_wait(struct exchange *exchange, int fd);

#endif
