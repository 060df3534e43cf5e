/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Profiles that are lists of stacks there at any time: now, as the difference of two times, or since the
 * last request.
 */
#include "agent/serve.h"

#include <stdbool.h>
#include <stdint.h>

#include "agent/answer.h"
#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/collect/snapshot.h"
#include "agent/endpoint.h"
#include "agent/options.h"
#include "agent/profiles.h"

/* Brings what there is now into *slot. JOB_DONE: it is there; anything else is what the step returns. */
static enum job_state take(struct exchange *x, struct snapshot **slot)
{
	struct answer *a = x->state;
	const struct taking *taking = a->profile->taking;
	int more;

	if (!taking) {
		*slot = a->profile->take(a->profile, &x->request);
		return JOB_DONE;
	}
	if (!a->taking)
		a->taking = taking->begin(a->profile, &x->request);
	if (!a->taking)
		return JOB_DONE;
	more = taking->step(a->taking, ANSWER_SLICE_NS, &x->wake_ns, slot);
	return more == 1 ? JOB_AGAIN : more == 2 ? JOB_WAIT : JOB_DONE;
}

/* The state at the beginning of the window, if there is one; its end; the state then. */
static enum job_state named_step(struct exchange *x, uint64_t now_ns)
{
	struct answer *a = x->state;
	enum job_state state;

	if (a->seconds && !a->before) {
		state = take(x, &a->before);
		if (state != JOB_DONE)
			return state;
		answer_drop_taking(a);
		if (!a->before || a->before->incomplete)
			return endpoint_no_memory(x);
		a->end_ns = a->before->mono_ns + (uint64_t)a->seconds * 1000000000u;
	}
	if (now_ns < a->end_ns) {
		x->wake_ns = a->end_ns;
		return JOB_WAIT;
	}
	state = take(x, &a->now);
	if (state != JOB_DONE)
		return state;
	if (!a->now || a->now->incomplete)
		return endpoint_no_memory(x);
	if (a->before) {
		if (!snapshot_subtract(a->now, a->before))
			return endpoint_no_memory(x);
		a->facts.duration_ns = a->now->mono_ns - a->before->mono_ns;
	}
	if (!a->labels && !snapshot_fold_tags(a->now))
		return endpoint_no_memory(x);
	if (a->as_text)
		return answer_text(x);
	a->facts.time_ns = a->now->time_ns;
	a->facts.period = a->profile->period ? a->profile->period() : 1;
	if (a->taking && a->profile->taking->finish)
		a->profile->taking->finish(a->taking, &a->facts, &a->comments);
	answer_drop_taking(a);
	return answer_pprof(x);
}

void serve_named(const struct profile *profile, struct exchange *x)
{
	const char *why = profile->refuse ? profile->refuse(&x->request) : NULL;
	int64_t seconds, debug;
	struct answer *a;

	if (why) {
		reply_error(x, 400, why);
		return;
	}
	if (!endpoint_parameters(x, &seconds, &debug))
		return;
	a = answer_new(profile, x);
	if (!a) {
		answer_refuse(x);
		return;
	}
	a->seconds = seconds;
	a->as_text = debug != 0;
	if (seconds)
		fmt_buf(a->attachment, sizeof(a->attachment), "%s-delta", profile->name);
	if (x->request.method == METHOD_HEAD && !debug) {
		reply_begin(x, 200, "application/octet-stream", a->attachment);
		answer_drop(x);
		return;
	}
	x->step = named_step;
}

void serve_over(const struct profile *profile, struct exchange *x)
{
	const char *why = profile->refuse ? profile->refuse(&x->request) : NULL;

	if (why)
		reply_error(x, 400, why);
	else if (x->request.method == METHOD_HEAD)
		reply_begin(x, 200, "application/octet-stream", profile->name);
	else if (answer_new(profile, x))
		x->step = named_step;
	else
		answer_refuse(x);
}

/* ---- since the previous request ---- */

/* One per path that was ever asked for. */
static struct kept {
	struct kept *next;
	const struct profile *profile;
	struct snapshot *last;
} *kept_first;

void serve_child_process(void)
{
	kept_first = NULL; /* its memory went with base/mem.h's */
}

static struct kept *find_kept(const struct profile *profile)
{
	struct kept *k = kept_first;

	while (k && k->profile != profile)
		k = k->next;
	if (k)
		return k;
	k = mem_zalloc(sizeof(*k));
	if (!k)
		return NULL;
	k->profile = profile;
	k->next = kept_first;
	kept_first = k;
	return k;
}

static enum job_state since_last_step(struct exchange *x, uint64_t now_ns)
{
	struct answer *a = x->state;
	struct kept *k = find_kept(a->profile);
	struct snapshot *next;

	a->now = a->profile->take(a->profile, &x->request);
	if (!k || !a->now || a->now->incomplete)
		return endpoint_no_memory(x);
	next = snapshot_copy(a->now, a->profile->cumulative);
	if (!next)
		return endpoint_no_memory(x);
	if (k->last) {
		if (!snapshot_subtract(a->now, k->last)) {
			snapshot_drop(next);
			return endpoint_no_memory(x);
		}
		a->facts.duration_ns = a->now->mono_ns - k->last->mono_ns;
	}
	snapshot_drop(k->last);
	k->last = next;
	a->facts.time_ns = a->now->time_ns;
	a->facts.period = a->profile->period ? a->profile->period() : 1;
	return answer_pprof(x);
}

void serve_since_last(const struct profile *profile, struct exchange *x)
{
	struct answer *a;

	if (x->request.method == METHOD_HEAD) {
		reply_begin(x, 200, "application/octet-stream", profile->file);
		return;
	}
	a = answer_new(profile, x);
	if (!a) {
		answer_refuse(x);
		return;
	}
	fmt_buf(a->attachment, sizeof(a->attachment), "%s", profile->file);
	x->step = since_last_step;
}

void serve_missing(const struct profile *profile, struct exchange *x)
{
	reply_error(x, 501, profile->missing);
}
