/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second stage of an answer, and its end. What the job holds is given back in one place, answer_drop,
 * which the listener calls for finished and for abandoned jobs alike.
 */
#include "agent/answer.h"

#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "agent/collect/cpu.h"
#include "agent/collect/labels.h"
#include "agent/collect/snapshot.h"
#include "agent/endpoint.h"
#include "agent/profiles.h"
#include "encode/pprof.h"
#include "encode/symbols.h"
#include "encode/text.h"

struct answer *answer_new(const struct profile *profile, struct exchange *x)
{
	struct answer *a = mem_zalloc(sizeof(*a));

	if (!a)
		return NULL;
	a->profile = profile;
	a->labels = endpoint_wants_labels(&x->request);
	a->start_ns = sys_clock_ns(CLOCK_MONOTONIC);
	a->start_real_ns = sys_clock_ns(CLOCK_REALTIME);
	fmt_buf(a->attachment, sizeof(a->attachment), "%s", profile->name);
	x->state = a;
	x->drop = answer_drop;
	return a;
}

void answer_drop_taking(struct answer *a)
{
	if (a->taking)
		a->profile->taking->drop(a->taking);
	a->taking = NULL;
}

void answer_end_sampling(struct answer *a)
{
	a->sampling = false;
	cpu_release();
	if (a->labels)
		cpu_label(false);
}

void answer_drop(struct exchange *x)
{
	struct answer *a = x->state;

	if (!a)
		return;
	if (a->sampling)
		answer_end_sampling(a);
	if (a->pprof)
		pprof_drop(a->pprof);
	if (a->text)
		text_drop(a->text);
	answer_drop_taking(a);
	snapshot_drop(a->before);
	snapshot_drop(a->now);
	mem_free(a);
	x->state = NULL;
	symbols_trim();
}

void answer_refuse(struct exchange *x)
{
	endpoint_no_memory(x);
	answer_drop(x);
}

static enum job_state write_step(struct exchange *x, uint64_t now_ns)
{
	struct answer *a = x->state;
	int more = a->pprof ? pprof_step(a->pprof, ANSWER_SLICE_NS) : text_step(a->text, ANSWER_SLICE_NS);

	if (more == 2)
		return endpoint_wait(x, a->pprof ? pprof_wait(a->pprof, &x->wake_ns)
					      : text_wait(a->text, &x->wake_ns));
	if (more > 0)
		return JOB_AGAIN;
	return more < 0 ? endpoint_no_memory(x) : JOB_DONE;
}

enum job_state answer_pprof(struct exchange *x)
{
	struct answer *a = x->state;

	if (a->profile->comment)
		a->profile->comment(a->now, &a->comments);
	comments_add_drops(&a->comments);
	if (a->comments.n)
		a->facts.comments = a->comments.lines;
	reply_begin(x, 200, "application/octet-stream", a->attachment);
	if (a->labels) {
		labels_refresh();
		a->facts.tag_tid = labels_tid;
	}
	a->pprof = pprof_begin(&x->body, &a->profile->desc, &a->facts, a->now, endpoint_symbolize(x),
			       a->labels ? labels_name : NULL);
	if (!a->pprof)
		return endpoint_no_memory(x);
	x->step = write_step;
	return JOB_AGAIN;
}

enum job_state answer_text(struct exchange *x)
{
	struct answer *a = x->state;
	const struct profile *p = a->profile;
	const char *trailer = NULL;

	if (p->taking && p->taking->trailer) {
		trailer = p->taking->trailer(a->taking);
	} else if (p->text_trailer) {
		p->text_trailer(a->trailer, sizeof(a->trailer));
		trailer = a->trailer;
	}
	reply_begin(x, 200, "text/plain; charset=utf-8", NULL);
	a->text = text_begin(&x->body, &(struct text_words){
		.form = p->form,
		.name = p->name,
		.unit = p->text_unit ? p->text_unit(a->unit, sizeof(a->unit)) : "",
		.trailer = trailer,
	}, a->now, endpoint_symbolize(x));
	if (!a->text)
		return endpoint_no_memory(x);
	x->step = write_step;
	return JOB_AGAIN;
}
