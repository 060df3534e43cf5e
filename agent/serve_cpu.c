/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU profile: a session of sampling that its readers share, each with its own window.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/answer.h"
#include "agent/base/sys.h"
#include "agent/collect/cpu.h"
#include "agent/collect/series.h"
#include "agent/collect/signals.h"
#include "agent/collect/snapshot.h"
#include "agent/endpoint.h"
#include "agent/options.h"
#include "agent/profiles.h"
#include "agent/serve.h"

void serve_cpu_values(struct snapshot *s, uint64_t period_ns)
{
	for (size_t i = 0; i < s->n; i++)
		s->samples[i].value[1] = s->samples[i].value[0] * (int64_t)period_ns;
}

void serve_cpu_comments(struct comments *comments)
{
	uint32_t threads;
	uint64_t ns = cpu_unseen_ns(false, &threads);

	if (threads)
		comments_add(comments,
			     "pprofagent: partial: %.3f s of CPU of %u threads are missing because "
			     "they block signal %d",
			     (double)ns / 1e9, threads, atomic_load(&signals_held));
	ns = cpu_unseen_ns(true, &threads);
	if (threads)
		comments_add(comments,
			     "pprofagent: partial: %.3f s of CPU of %u threads are missing because "
			     "the kernel refused timers: raise RLIMIT_SIGPENDING (ulimit -i)",
			     (double)ns / 1e9, threads);
}

static enum job_state cpu_step(struct exchange *x, uint64_t now_ns)
{
	struct answer *a = x->state;

	if (now_ns < a->end_ns) {
		x->wake_ns = a->end_ns;
		return JOB_WAIT;
	}
	serve_cpu_comments(&a->comments);
	a->facts.duration_ns = now_ns - a->start_ns;
	answer_end_sampling(a);
	a->now = snapshot_take(SERIES_CPU, NULL);
	if (!a->now || a->now->incomplete || !snapshot_subtract(a->now, a->before) ||
	    (!a->labels && !snapshot_fold_tags(a->now)))
		return endpoint_no_memory(x);
	serve_cpu_values(a->now, a->period_ns);
	a->facts.time_ns = a->start_real_ns;
	a->facts.period = (int64_t)a->period_ns;
	return answer_pprof(x);
}

void serve_cpu(const struct profile *profile, struct exchange *x)
{
	int64_t seconds = endpoint_window(&x->request), hz = options->cpu_profile_rate;
	int given = request_query_int(&x->request, "hz", &hz);
	struct answer *a;
	int err;

	if (given < 0 || hz < 1 || hz > 1000) {
		reply_error(x, 400, "invalid value for \"hz\" - must be an integer from 1 to 1000");
		return;
	}
	if (seconds > options->max_seconds) {
		reply_error(x, 400, endpoint_too_long);
		return;
	}
	if (x->request.method == METHOD_HEAD) {
		reply_begin(x, 200, "application/octet-stream", profile->name);
		return;
	}
	a = answer_new(profile, x);
	if (!a) {
		answer_refuse(x);
		return;
	}
	err = cpu_acquire((unsigned)hz);
	if (err) {
		reply_error(x, 500,
			    err == -EBUSY ? "Could not enable CPU profiling: cpu profiling already "
					    "in use"
					  : "Could not enable CPU profiling: the program uses SIGPROF "
					    "and every real-time signal");
		answer_drop(x);
		return;
	}
	a->sampling = true;
	if (a->labels)
		cpu_label(true);
	a->period_ns = cpu_period_ns();
	a->before = snapshot_take(SERIES_CPU, NULL);
	if (!a->before || a->before->incomplete) {
		answer_refuse(x);
		return;
	}
	a->end_ns = a->start_ns + (uint64_t)seconds * 1000000000u;
	x->wake_ns = a->end_ns;
	x->step = cpu_step;
}
