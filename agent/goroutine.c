/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/goroutine.h"

#include <errno.h>
#include <stdbool.h>

#include "agent/base/attr.h"
#include "agent/base/mem.h"
#include "agent/collect/dump.h"
#include "agent/collect/labels.h"
#include "agent/collect/tally.h"
#include "agent/dumptext.h"
#include "agent/profiles.h"
#include "agent/serve.h"

enum { SLICE_NS = 8000000 };

/* ---- the list of stacks ---- */

struct counting {
	struct dump *dump;
	bool labels;
};

static void *counting_begin(const struct profile *profile, const struct request *request)
{
	struct counting *c = mem_zalloc(sizeof(*c));

	if (!c)
		return NULL;
	c->labels = serve_wants_labels(request);
	c->dump = dump_begin(false);
	if (c->dump)
		return c;
	mem_free(c);
	return NULL;
}

static void counting_drop(void *state)
{
	struct counting *c = state;

	dump_drop(c->dump);
	mem_free(c);
}

static struct snapshot *count(const struct counting *c)
{
	struct tally *tally = tally_new();

	if (!tally)
		return NULL;
	for (size_t i = 0; i < dump_n(c->dump); i++) {
		const struct dump_thread *t = dump_at(c->dump, i);

		if (t->how == DUMP_GONE)
			continue;
		if (!tally_add(tally, t->stack, c->labels ? labels_tag(threads_at(t->record)) : 0, 1, 0))
			break;
	}
	return tally_end(tally);
}

static int counting_step(void *state, uint64_t budget_ns, uint64_t *out_wake_ns, struct snapshot **out)
{
	struct counting *c = state;
	int more = dump_step(c->dump, budget_ns, out_wake_ns);

	if (more == DUMP_DONE)
		*out = count(c);
	return more;
}

const struct taking goroutine_taking = {
	.begin = counting_begin,
	.step = counting_step,
	.drop = counting_drop,
};

/* ---- thread by thread ---- */

struct listing {
	struct dump *dump;
	struct dumptext *text;
};

static void listing_drop(struct exchange *x)
{
	struct listing *l = x->state;

	if (!l)
		return;
	dumptext_drop(l->text);
	dump_drop(l->dump);
	mem_free(l);
	x->state = NULL;
}

static enum job_state write_step(struct exchange *x, uint64_t now_ns)
{
	struct listing *l = x->state;
	int more = dumptext_step(l->text, SLICE_NS);

	return more > 0 ? JOB_AGAIN : more < 0 ? serve_no_memory(x) : JOB_DONE;
}

static enum job_state dump_job(struct exchange *x, uint64_t now_ns)
{
	struct listing *l = x->state;

	switch (dump_step(l->dump, SLICE_NS, &x->wake_ns)) {
	case DUMP_MORE:
		return JOB_AGAIN;
	case DUMP_WAIT:
		return JOB_WAIT;
	case DUMP_DONE:
		break;
	default:
		return serve_no_memory(x);
	}
	reply_begin(x, 200, "text/plain; charset=utf-8", NULL);
	l->text = dumptext_begin(&x->body, l->dump, NULL, NULL);
	if (!l->text)
		return serve_no_memory(x);
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
	if (!serve_parameters(x, &seconds, &debug))
		return;
	l = mem_zalloc(sizeof(*l));
	x->state = l;
	x->drop = listing_drop;
	if (l)
		l->dump = dump_begin(true);
	if (!l || !l->dump) {
		serve_no_memory(x);
		listing_drop(x);
		return;
	}
	x->step = dump_job;
}
