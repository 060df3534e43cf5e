/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/goroutine.h"

#include <errno.h>
#include <stdbool.h>

#include "agent/base/attr.h"
#include "agent/base/mem.h"
#include "agent/base/sink.h"
#include "agent/collect/dump.h"
#include "agent/collect/labels.h"
#include "agent/collect/leaks.h"
#include "agent/collect/records.h"
#include "agent/collect/tally.h"
#include "agent/dumptext.h"
#include "agent/endpoint.h"
#include "agent/leaktext.h"
#include "agent/profiles.h"
#include "agent/serve.h"

enum { SLICE_NS = 8000000 };

/* A dump and, for goroutineleak, what follows from it. */
struct threads_view {
	struct dump *dump;
	bool dumped, labels;
	bool only_leaks;
	struct leaks *leaks;
	char *words; /* of the leaks */
};

static bool view_begin(struct threads_view *v, bool only_leaks, bool details)
{
	v->only_leaks = only_leaks;
	v->dump = dump_begin(details || only_leaks);
	return v->dump != NULL;
}

static void view_end(struct threads_view *v)
{
	mem_free(v->words);
	leaks_drop(v->leaks);
	dump_drop(v->dump);
}

/* As dump_step. */
static int view_step(struct threads_view *v, uint64_t budget_ns, uint64_t *out_wake_ns)
{
	int more;

	if (!v->dumped) {
		more = dump_step(v->dump, budget_ns, out_wake_ns);
		v->dumped = more == DUMP_DONE;
		return more == DUMP_DONE && v->only_leaks ? DUMP_MORE : more;
	}
	if (!v->leaks)
		v->leaks = leaks_begin(v->dump);
	if (!v->leaks)
		return -ENOMEM;
	if (leaks_step(v->leaks, budget_ns))
		return DUMP_MORE;
	v->words = leaktext(v->dump, v->leaks);
	return v->words ? DUMP_DONE : -ENOMEM;
}

/* ---- the list of stacks ---- */

static void *counting_begin(const struct profile *profile, const struct request *request)
{
	struct threads_view *v = mem_zalloc(sizeof(*v));

	if (!v)
		return NULL;
	v->labels = endpoint_wants_labels(request);
	if (view_begin(v, profile->taking == &goroutineleak_taking, false))
		return v;
	mem_free(v);
	return NULL;
}

static void counting_drop(void *state)
{
	view_end(state);
	mem_free(state);
}

static struct snapshot *count(const struct threads_view *v)
{
	struct tally *tally = tally_new();

	if (!tally)
		return NULL;
	for (size_t i = 0; i < dump_n(v->dump); i++) {
		const struct dump_thread *t = dump_at(v->dump, i);

		if (t->how == DUMP_GONE || (v->leaks && leaks_at(v->leaks, i) == LEAK_NONE))
			continue;
		if (!tally_add(tally, t->stack, v->labels ? labels_tag(records_at(t->record)) : 0, 1, 0))
			break;
	}
	return tally_end(tally);
}

static int counting_step(void *state, uint64_t budget_ns, uint64_t *out_wake_ns, struct snapshot **out)
{
	int more = view_step(state, budget_ns, out_wake_ns);

	if (more == DUMP_DONE)
		*out = count(state);
	return more;
}

static const char *words_of(void *state)
{
	const struct threads_view *v = state;

	return v->words;
}

const struct taking goroutine_taking = {
	.begin = counting_begin,
	.step = counting_step,
	.drop = counting_drop,
};

const struct taking goroutineleak_taking = {
	.begin = counting_begin,
	.step = counting_step,
	.trailer = words_of,
	.drop = counting_drop,
};

/* ---- thread by thread ---- */

struct listing {
	struct threads_view view;
	struct dumptext *text;
};

static void listing_drop(struct exchange *x)
{
	struct listing *l = x->state;

	if (!l)
		return;
	dumptext_drop(l->text);
	view_end(&l->view);
	mem_free(l);
	x->state = NULL;
}

static enum job_state write_step(struct exchange *x, uint64_t now_ns)
{
	struct listing *l = x->state;
	int more = dumptext_step(l->text, SLICE_NS);

	if (more == 2)
		return endpoint_wait(x, dumptext_wait(l->text, &x->wake_ns));
	if (more > 0)
		return JOB_AGAIN;
	if (more < 0)
		return endpoint_no_memory(x);
	if (l->view.words && l->view.words[0]) {
		sink_text(&x->body, "\n");
		sink_text(&x->body, l->view.words);
	}
	return JOB_DONE;
}

static enum job_state dump_job(struct exchange *x, uint64_t now_ns)
{
	struct listing *l = x->state;

	switch (view_step(&l->view, SLICE_NS, &x->wake_ns)) {
	case DUMP_MORE:
		return JOB_AGAIN;
	case DUMP_WAIT:
		return JOB_WAIT;
	case DUMP_DONE:
		break;
	default:
		return endpoint_no_memory(x);
	}
	reply_begin(x, 200, "text/plain; charset=utf-8", NULL);
	l->text = dumptext_begin(&x->body, l->view.dump, l->view.leaks, endpoint_symbolize(x));
	if (!l->text)
		return endpoint_no_memory(x);
	x->step = write_step;
	return JOB_AGAIN;
}

void serve_goroutine(const struct profile *profile, struct exchange *x)
{
	int64_t seconds, debug;
	struct listing *l;

	if (request_query_int(&x->request, "debug", &debug) != 1 || debug < 2) {
		serve_named(profile, x);
		return;
	}
	if (!endpoint_parameters(x, &seconds, &debug))
		return;
	l = mem_zalloc(sizeof(*l));
	x->state = l;
	x->drop = listing_drop;
	if (!l || !view_begin(&l->view, profile->taking == &goroutineleak_taking, true)) {
		endpoint_no_memory(x);
		listing_drop(x);
		return;
	}
	x->step = dump_job;
}
