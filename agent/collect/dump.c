/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three stages: list the threads, look at each once, then look again and again at those that ran, until
 * they have answered, fell asleep, ended, or the time is over.
 */
#include "agent/collect/dump.h"

#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/mem.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/cpu.h"
#include "agent/collect/frames.h"
#include "agent/collect/peek.h"
#include "agent/collect/record.h"
#include "agent/collect/records.h"
#include "agent/collect/shot.h"
#include "agent/collect/sweep.h"
#include "agent/collect/threads.h"

enum {
	DEADLINE_NS = 250000000,  /* for running threads, from the first pass over them */
	DEAF_NS = 30000000,	  /* when all that are left block our signal */
	PAUSE_NS = 1000000,	  /* between two passes over them */
	PAUSE_LAST_NS = 5000000,
	TIMES_NS = 500000000,	  /* how long ago they ran is asked for no longer than this */
	SHOTS_MAX = 1024,	  /* timers at a time: they count against RLIMIT_SIGPENDING */
};

enum stage { STAGE_FIND, STAGE_LIST, STAGE_READ, STAGE_PENDING, STAGE_DONE };

/* A thread that ran when it was looked at. */
struct pending {
	uint32_t at; /* index of the thread */
	bool deaf;
	struct shot shot;
};

struct dump {
	bool details;
	enum stage stage;
	struct peeker *peeker;
	struct dump_thread *threads;
	size_t n, next; /* next: to be looked at in STAGE_READ */
	struct pending *pending;
	size_t pending_n, pending_room, pending_next, shots;
	bool only_deaf; /* in the pass under way, until one is seen that is not */
	int sig;	/* the signal that we hold, 0 none, < 0 none to be had */
	uint64_t deadline_ns, pass_ns, pause_ns;
	bool has_clock;
	uint64_t times_ns;
	uint64_t clock_behind_ns;
};

struct dump *dump_begin(bool details)
{
	struct dump *d = mem_zalloc(sizeof(*d));

	if (!d)
		return NULL;
	d->details = details;
	d->pause_ns = PAUSE_NS;
	d->peeker = peek_begin();
	if (d->peeker)
		return d;
	mem_free(d);
	return NULL;
}

static void drop_shots(struct dump *d)
{
	for (size_t i = 0; i < d->pending_n; i++)
		shot_drop(&d->pending[i].shot);
	d->shots = 0;
	if (d->sig > 0)
		cpu_signal_leave();
	d->sig = 0;
}

void dump_drop(struct dump *d)
{
	if (!d)
		return;
	drop_shots(d);
	peek_end(d->peeker);
	mem_free(d->pending);
	mem_free(d->threads);
	mem_free(d);
}

size_t dump_n(const struct dump *d)
{
	return d->n;
}

const struct dump_thread *dump_at(const struct dump *d, size_t i)
{
	return &d->threads[i];
}

const struct dump_thread *dump_find(const struct dump *d, int tid)
{
	size_t lo = 0, hi = d->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (d->threads[mid].tid == tid)
			return &d->threads[mid];
		if (d->threads[mid].tid < tid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

bool dump_is_current(const struct dump *d, const struct dump_thread *t)
{
	return t->how == DUMP_ASLEEP && task_stamp(peek_directory(d->peeker), t->tid) == t->stamp;
}

bool dump_confirm(const struct dump *d, const struct dump_thread *t)
{
	struct waitsfor again;

	waitsfor_find(d->peeker, &t->call, t->stack, &again);
	return again.what == t->wait.what && again.owner == t->wait.owner &&
	       again.gone == t->wait.gone && dump_is_current(d, t);
}

/* ---- list ---- */

/* Shell's sort with Knuth's gaps: qsort may allocate from the program's heap. */
static void sort(uint64_t *a, size_t n)
{
	size_t gap = 1;

	while (gap < n / 3)
		gap = gap * 3 + 1;
	for (; gap > 0; gap /= 3) {
		for (size_t i = gap; i < n; i++) {
			uint64_t key = a[i];
			size_t k = i;

			for (; k >= gap && a[k - gap] > key; k -= gap)
				a[k] = a[k - gap];
			a[k] = key;
		}
	}
}

/* Live threads as tid << 32 | record, in order. NULL: out of memory. */
static uint64_t *live_keys(size_t *out_n)
{
	uint32_t records = records_count();
	uint64_t *keys = mem_alloc((records + 1) * sizeof(*keys));
	size_t n = 0;

	if (!keys)
		return NULL;
	for (uint32_t i = 0; i < records; i++) {
		const struct thread *t = records_at(i);

		if (atomic_load(&t->state) == THREAD_LIVE)
			keys[n++] = (uint64_t)atomic_load(&t->tid) << 32 | i;
	}
	sort(keys, n);
	*out_n = n;
	return keys;
}

static int list(struct dump *d)
{
	size_t n;
	uint64_t *keys = live_keys(&n);

	if (!keys)
		return -ENOMEM;
	d->threads = mem_zalloc((n + 1) * sizeof(*d->threads));
	for (size_t i = 0; d->threads && i < n; i++) {
		int tid = (int)(keys[i] >> 32);
		uint32_t record = (uint32_t)keys[i];

		/* the agent may have made a record in the moment before the thread made its own */
		if (d->n && d->threads[d->n - 1].tid == tid)
			continue;
		d->threads[d->n++] = (struct dump_thread){
			.tid = tid, .tag = atomic_load(&records_at(record)->tag), .record = record,
		};
	}
	mem_free(keys);
	if (!d->threads)
		return -ENOMEM;
	d->times_ns = sys_clock_ns(CLOCK_MONOTONIC) + TIMES_NS;
	if (d->details)
		d->has_clock = task_clock_behind(peek_directory(d->peeker), &d->clock_behind_ns);
	d->stage = STAGE_READ;
	return 0;
}

static int find_threads(struct dump *d)
{
	d->stage = STAGE_LIST;
	return sweep_threads();
}

/* ---- read ---- */

/* Everything else about a thread that is asleep; kept only if it still is. */
static void add_details(struct dump *d, struct dump_thread *t)
{
	int directory = peek_directory(d->peeker);

	task_facts(directory, t->tid, &t->facts);
	if (t->how != DUMP_ASLEEP)
		return;
	waitsfor_find(d->peeker, &t->call, t->stack, &t->wait);
	/* the clocks of two processors may differ by as much: then better no time than a wrong one */
	if (d->has_clock && sys_clock_ns(CLOCK_MONOTONIC) < d->times_ns &&
	    task_idle_ns(directory, t->tid, d->clock_behind_ns, &t->idle_ns))
		t->idle_known = t->idle_ns >= 4 * d->clock_behind_ns;
	if (dump_is_current(d, t)) {
		if (t->facts.state == 'R')
			t->facts.state = 'S';
		return;
	}
	memset(&t->wait, 0, sizeof(t->wait));
	t->idle_known = false;
	t->facts.state = 'S';
}

static void settle(struct dump *d, struct dump_thread *t, enum dump_how how, const struct stack *stack)
{
	t->how = (uint8_t)how;
	t->stack = stack;
	if (how == DUMP_NOT_READ || how == DUMP_DEAF)
		stat_add(STAT_DUMP_LATE, 1);
	if (d->details && how != DUMP_GONE)
		add_details(d, t);
}

/* One look. false: it runs. */
static bool look(struct dump *d, struct dump_thread *t)
{
	const struct thread *record = records_at(t->record);
	struct peeked peeked;

	switch (peek_at(d->peeker, record, t->tid, &peeked)) {
	case PEEK_ASLEEP:
		t->call = peeked.call;
		t->stamp = peeked.stamp;
		settle(d, t, DUMP_ASLEEP, peeked.stack);
		return true;
	case PEEK_GONE:
		settle(d, t, DUMP_GONE, NULL);
		return true;
	case PEEK_DENIED:
		settle(d, t, DUMP_DENIED, record_mark(FRAME_NOT_READ));
		return true;
	default:
		return false;
	}
}

static bool add_pending(struct dump *d, size_t at)
{
	if (d->pending_n == d->pending_room) {
		size_t room = d->pending_room ? d->pending_room * 2 : 64;
		struct pending *grown = mem_realloc(d->pending, room * sizeof(*grown));

		if (!grown)
			return false;
		d->pending = grown;
		d->pending_room = room;
	}
	d->pending[d->pending_n++] = (struct pending){ .at = (uint32_t)at };
	return true;
}

static int read_next(struct dump *d)
{
	if (d->next == d->n) {
		uint64_t now = sys_clock_ns(CLOCK_MONOTONIC);

		d->stage = d->pending_n ? STAGE_PENDING : STAGE_DONE;
		d->pass_ns = now;
		d->deadline_ns = now + DEADLINE_NS;
		d->only_deaf = true;
		return 0;
	}
	if (!look(d, &d->threads[d->next]) && !add_pending(d, d->next))
		return -ENOMEM;
	d->next++;
	return 0;
}

/* ---- pending ---- */

static void arm(struct dump *d, struct pending *p)
{
	struct dump_thread *t = &d->threads[p->at];
	struct task_status status;

	if (d->shots >= SHOTS_MAX)
		return;
	if (!d->sig)
		d->sig = cpu_signal_enter();
	if (d->sig < 0)
		return;
	if (task_status(peek_directory(d->peeker), t->tid, &status) != 0)
		return;
	p->deaf = status.blocked >> (d->sig - 1) & 1;
	if (p->deaf)
		return;
	d->shots -= p->shot.made;
	shot_arm(&p->shot, records_at(t->record), t->tid, d->sig);
	d->shots += p->shot.made;
}

static bool visit(struct dump *d, struct pending *p)
{
	struct dump_thread *t = &d->threads[p->at];
	const struct stack *stack = shot_answer(&p->shot);

	if (stack) {
		settle(d, t, DUMP_RUNNING, stack);
		return true;
	}
	if (look(d, t))
		return true;
	if (!p->shot.armed)
		arm(d, p);
	return false;
}

static void remove_pending(struct dump *d, size_t i)
{
	d->shots -= d->pending[i].shot.made;
	shot_drop(&d->pending[i].shot);
	d->pending[i] = d->pending[--d->pending_n];
}

static void give_up(struct dump *d)
{
	for (size_t i = 0; i < d->pending_n; i++)
		settle(d, &d->threads[d->pending[i].at], d->pending[i].deaf ? DUMP_DEAF : DUMP_NOT_READ,
		       record_mark(FRAME_NOT_READ));
	drop_shots(d);
	d->pending_n = 0;
	d->stage = STAGE_DONE;
}

/* The end of a pass over all pending threads. DUMP_WAIT, or DUMP_MORE: nothing is left. */
static int end_pass(struct dump *d, uint64_t now, uint64_t *out_wake_ns)
{
	uint64_t patience = d->only_deaf ? DEADLINE_NS - DEAF_NS : 0;

	d->pending_next = 0;
	d->only_deaf = true;
	if (!d->pending_n || now + patience >= d->deadline_ns) {
		give_up(d);
		return DUMP_MORE;
	}
	*out_wake_ns = d->pass_ns = now + d->pause_ns;
	if (d->pause_ns < PAUSE_LAST_NS)
		d->pause_ns += PAUSE_NS;
	return DUMP_WAIT;
}

static void visit_next(struct dump *d)
{
	size_t i = d->pending_next;

	if (visit(d, &d->pending[i])) {
		remove_pending(d, i);
		return;
	}
	d->only_deaf &= d->pending[i].deaf || d->sig < 0;
	d->pending_next++;
}

int dump_step(struct dump *d, uint64_t budget_ns, uint64_t *out_wake_ns)
{
	uint64_t now = sys_clock_ns(CLOCK_MONOTONIC), end = now + budget_ns;
	int err = 0;

	if (d->stage == STAGE_PENDING && now < d->pass_ns) {
		*out_wake_ns = d->pass_ns;
		return DUMP_WAIT;
	}
	for (; now < end && !err; now = sys_clock_ns(CLOCK_MONOTONIC)) {
		switch (d->stage) {
		case STAGE_FIND:
			err = find_threads(d);
			break;
		case STAGE_LIST:
			err = list(d);
			break;
		case STAGE_READ:
			err = read_next(d);
			break;
		case STAGE_PENDING:
			if (d->pending_next < d->pending_n && now < d->deadline_ns)
				visit_next(d);
			else if (end_pass(d, now, out_wake_ns) == DUMP_WAIT)
				return DUMP_WAIT;
			break;
		case STAGE_DONE:
			drop_shots(d);
			return DUMP_DONE;
		}
	}
	return err ? err : DUMP_MORE;
}
