/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look that finds a thread running does not know its stack yet: the look stays owed until the thread's
 * one-shot timer has fired, which it does in proportion to the processor time that the thread uses, and
 * is then booked there; not where the thread went to sleep afterwards.
 */
#include "agent/collect/wall.h"

#include <errno.h>
#include <string.h>

#include "agent/base/mem.h"
#include "agent/base/random.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/cpu.h"
#include "agent/collect/frames.h"
#include "agent/collect/labels.h"
#include "agent/collect/peek.h"
#include "agent/collect/record.h"
#include "agent/collect/records.h"
#include "agent/collect/shot.h"
#include "agent/collect/sweep.h"
#include "agent/collect/tally.h"

enum {
	SHARE = 20,		/* looking may cost one part in this many of a processor */
	SWEEP_NS = 1000000000,	/* threads that no hook saw, threads that (un)blocked our signal */
	PERIOD_MAX_NS = 1000000000,
};

struct amount {
	uint64_t looks, ns;
};

/* One thread; its index is that of its record. */
struct watched {
	uint32_t tag;		   /* of the thread that this is about, 0: none yet */
	bool deaf;		   /* it blocks our signal */
	uint64_t stamp;		   /* it slept with `stack`, and sleeps still as long as this is its stamp */
	const struct stack *stack; /* NULL: not known */
	struct amount here;	   /* of `stack`, not in the tally yet */
	struct amount owed;	   /* looks that found it running */
	struct shot shot;
};

struct wall {
	struct peeker *peeker;
	struct tally *tally;
	bool labels;
	int sig; /* held: > 0; 0: not asked for yet; < 0: none to be had */
	uint64_t asked_ns, period_ns, window_ns;
	uint64_t start_real_ns, end_ns;
	uint64_t covered_ns; /* up to here time is booked */
	uint64_t look_ns;    /* the next look */
	uint64_t sweep_ns;
	/* the look under way */
	bool looking;
	uint32_t next;
	uint64_t weight_ns;
	uint64_t cost_ns, mean_cost_ns; /* of this one; of the last ones */
	bool first; /* reads all threads: not a measure for what follows */
	struct watched *threads;
	uint32_t room;
	bool failed;
};

uint64_t wall_start_ns(const struct wall *w)
{
	return w->start_real_ns;
}

uint64_t wall_window_ns(const struct wall *w)
{
	return w->window_ns;
}

uint64_t wall_period_ns(const struct wall *w)
{
	return w->period_ns;
}

uint64_t wall_asked_ns(const struct wall *w)
{
	return w->asked_ns;
}

/* Somewhere in the next period. */
static void plan(struct wall *w)
{
	uint64_t left = w->end_ns - w->covered_ns;

	w->look_ns = w->covered_ns + random_below(left < w->period_ns ? left : w->period_ns);
}

struct wall *wall_begin(uint64_t window_ns, unsigned hz, bool labels)
{
	struct wall *w = mem_zalloc(sizeof(*w));

	if (!w)
		return NULL;
	w->labels = labels;
	w->asked_ns = w->period_ns = 1000000000u / hz;
	w->window_ns = window_ns;
	w->first = true;
	w->peeker = peek_begin();
	w->tally = tally_new();
	if (!w->peeker || !w->tally) {
		wall_drop(w);
		return NULL;
	}
	w->start_real_ns = sys_clock_ns(CLOCK_REALTIME);
	w->covered_ns = sys_clock_ns(CLOCK_MONOTONIC);
	w->end_ns = w->covered_ns + window_ns;
	plan(w);
	return w;
}

void wall_drop(struct wall *w)
{
	if (!w)
		return;
	for (uint32_t i = 0; i < w->room; i++)
		shot_drop(&w->threads[i].shot);
	if (w->sig > 0)
		cpu_signal_leave();
	peek_end(w->peeker);
	tally_drop(w->tally);
	mem_free(w->threads);
	mem_free(w);
}

static void book(struct wall *w, const struct watched *e, const struct stack *stack, struct amount *amount)
{
	if (amount->looks && !tally_add(w->tally, stack, w->labels ? e->tag : 0, (int64_t)amount->looks,
					(int64_t)amount->ns))
		w->failed = true;
	amount->looks = amount->ns = 0;
}

/* Nothing more will come of this thread. */
static void close_watched(struct wall *w, struct watched *e)
{
	const struct stack *answer = shot_answer(&e->shot);

	book(w, e, e->stack, &e->here);
	book(w, e, answer ? answer : record_mark(FRAME_NOT_READ), &e->owed);
	shot_drop(&e->shot);
	memset(e, 0, sizeof(*e));
}

static bool make_room(struct wall *w, uint32_t n)
{
	uint32_t room = w->room ? w->room : 64;
	struct watched *grown;

	if (n <= w->room)
		return true;
	while (room < n)
		room *= 2;
	grown = mem_realloc(w->threads, room * sizeof(*grown));
	if (!grown)
		return false;
	memset(grown + w->room, 0, (room - w->room) * sizeof(*grown));
	w->threads = grown;
	w->room = room;
	return true;
}

static void arm(struct wall *w, struct watched *e, struct thread *t, int tid)
{
	struct task_status status;

	if (e->shot.armed || e->deaf)
		return;
	if (!w->sig)
		w->sig = cpu_signal_enter();
	if (w->sig < 0)
		return;
	/* a thread's mask is looked at before its first timer, and by sweep() */
	if (!e->shot.made) {
		if (task_status(peek_directory(w->peeker), tid, &status) != 0)
			return;
		e->deaf = status.blocked >> (w->sig - 1) & 1;
		if (e->deaf)
			return;
	}
	shot_arm(&e->shot, t, tid, w->sig);
}

static void add(struct amount *amount, uint64_t ns)
{
	amount->looks++;
	amount->ns += ns;
}

static void look_at(struct wall *w, struct watched *e, struct thread *t, int tid)
{
	const struct stack *answer = shot_answer(&e->shot);
	struct peeked peeked;

	if (answer)
		book(w, e, answer, &e->owed);
	if (e->stack && task_stamp(peek_directory(w->peeker), tid) == e->stamp) {
		add(&e->here, w->weight_ns);
		return;
	}
	switch (peek_at(w->peeker, t, tid, &peeked)) {
	case PEEK_ASLEEP:
		if (e->stack != peeked.stack)
			book(w, e, e->stack, &e->here);
		e->stack = peeked.stack;
		e->stamp = peeked.stamp;
		add(&e->here, w->weight_ns);
		break;
	case PEEK_RUNNING:
		add(&e->owed, w->weight_ns);
		arm(w, e, t, tid);
		break;
	case PEEK_DENIED:
		add(&e->owed, w->weight_ns);
		break;
	case PEEK_GONE:
		break;
	}
}

static void look_at_record(struct wall *w, uint32_t i)
{
	struct thread *t = records_at(i);
	struct watched *e = &w->threads[i];
	uint32_t tag = atomic_load(&t->tag);

	if (e->tag && (e->tag != tag || atomic_load(&t->state) != THREAD_LIVE))
		close_watched(w, e);
	if (atomic_load(&t->state) != THREAD_LIVE)
		return;
	e->tag = tag;
	if (w->labels)
		labels_tag(t);
	look_at(w, e, t, atomic_load(&t->tid));
}

static void sweep(struct wall *w, uint64_t now)
{
	sweep_threads();
	for (uint32_t i = 0; i < w->room; i++)
		w->threads[i].deaf = false; /* looked at again when it is found running */
	w->sweep_ns = now + SWEEP_NS;
}

/* The look covers its period, and what has passed since if it comes late. */
static void begin_look(struct wall *w, uint64_t now)
{
	uint64_t until = w->covered_ns + w->period_ns;

	if (until < now)
		until = now;
	if (until > w->end_ns)
		until = w->end_ns;
	w->weight_ns = until - w->covered_ns;
	w->covered_ns = until;
	w->looking = true;
	w->next = 0;
	w->cost_ns = 0;
	if (now >= w->sweep_ns)
		sweep(w, now);
}

static void end_look(struct wall *w)
{
	w->looking = false;
	if (w->first)
		w->first = false;
	else
		w->mean_cost_ns = (w->mean_cost_ns * 3 + w->cost_ns) / 4;
	if (w->mean_cost_ns > w->period_ns / SHARE && w->period_ns < PERIOD_MAX_NS)
		w->period_ns *= 2;
	if (w->covered_ns < w->end_ns)
		plan(w);
}

static void look_some(struct wall *w, uint64_t budget_ns)
{
	uint64_t cpu = sys_clock_ns(CLOCK_THREAD_CPUTIME_ID);
	uint64_t end = sys_clock_ns(CLOCK_MONOTONIC) + budget_ns;

	for (; w->next < records_count(); w->next++) {
		if (sys_clock_ns(CLOCK_MONOTONIC) >= end)
			break;
		if (!make_room(w, w->next + 1)) {
			w->failed = true;
			break;
		}
		look_at_record(w, w->next);
	}
	w->cost_ns += sys_clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
}

int wall_step(struct wall *w, uint64_t budget_ns, uint64_t *out_wake_ns)
{
	uint64_t now = sys_clock_ns(CLOCK_MONOTONIC);

	if (!w->looking) {
		bool over = w->covered_ns >= w->end_ns;

		*out_wake_ns = over ? w->end_ns : w->look_ns;
		if (now < *out_wake_ns)
			return 2;
		if (over)
			return 0;
		begin_look(w, now);
	}
	look_some(w, budget_ns);
	if (w->failed)
		return -ENOMEM;
	if (w->next < records_count())
		return 1;
	end_look(w);
	*out_wake_ns = w->covered_ns < w->end_ns ? w->look_ns : w->end_ns;
	return 2;
}

struct snapshot *wall_end(struct wall *w)
{
	struct tally *tally = w->tally;

	for (uint32_t i = 0; i < w->room; i++)
		if (w->threads[i].tag)
			close_watched(w, &w->threads[i]);
	w->tally = NULL;
	return tally_end(tally);
}
