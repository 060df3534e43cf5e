/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An answer that is a profile: a job with two stages, collecting (wait for the end of the window; the client
 * may go away) and writing (encode in slices, so that other clients have their turn). The first stage belongs
 * to the kind of endpoint (agent/serve.c, agent/serve_cpu.c), which puts what it collected into `now`.
 * Nothing is sent before that has succeeded, so that a failure can still be a 500. Context: agent.
 */
#ifndef AGENT_ANSWER_H
#define AGENT_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/comments.h"
#include "agent/http/server.h"
#include "encode/desc.h"

struct profile;
struct snapshot;

enum { ANSWER_SLICE_NS = 8000000, ANSWER_NAME = 64, ANSWER_UNIT = 64, ANSWER_TRAILER = 4096 };

struct answer {
	const struct profile *profile;
	struct snapshot *before; /* of a window: what was there at its beginning */
	struct snapshot *now;	 /* what is written */
	bool sampling;		 /* holds a CPU session */
	uint64_t end_ns;	 /* CLOCK_MONOTONIC: end of the window; 0: no window */
	uint64_t start_real_ns, start_ns;
	uint64_t period_ns;
	struct profile_facts facts;
	struct comments comments;
	struct pprof_writer *pprof;
	struct text_writer *text;
	void *taking;	 /* state of profile->taking */
	int64_t seconds; /* of the window that is asked for; 0: none */
	bool as_text, labels;
	char attachment[ANSWER_NAME];
	char unit[ANSWER_UNIT];
	char trailer[ANSWER_TRAILER];
};

/* The state of a new job, which owns it: whatever becomes of the exchange, it is dropped with what it holds.
 * NULL: out of memory. The caller sets exchange->step. */
struct answer *answer_new(const struct profile *profile, struct exchange *exchange);

/* Before the job has begun: the error of endpoint_no_memory, and nothing is left of the answer, if there was one. */
void answer_refuse(struct exchange *exchange);
/* The same without an error: for a request that ends with its head. */
void answer_drop(struct exchange *exchange);

/* Gives back what the first stage holds, if it does: the CPU session; the state of profile->taking. */
void answer_end_sampling(struct answer *answer);
void answer_drop_taking(struct answer *answer);

/* The collection is complete in `now`: begins the reply in that form. What the step returns. */
enum job_state answer_pprof(struct exchange *exchange);
enum job_state answer_text(struct exchange *exchange);

#endif
