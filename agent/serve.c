/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Profiles that are lists of stacks. An answer is a job with two stages: collect (wait for the end of
 * the window; the client may go away) and write (encode in slices, so that other clients have their
 * turn). Nothing is sent before the collection has succeeded, so that a failure can still be a 500.
 */
#include "agent/serve.h"

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/buckets.h"
#include "agent/collect/cpu.h"
#include "agent/collect/labels.h"
#include "agent/collect/signals.h"
#include "agent/collect/snapshot.h"
#include "agent/http/server.h"
#include "agent/options.h"
#include "agent/profiles.h"
#include "encode/gzip.h"
#include "encode/pprof.h"
#include "encode/symbols.h"
#include "encode/text.h"

enum { SLICE_NS = 8000000, NAME_SIZE = 64, TRAILER = 4096 };

static const char *const too_long = "invalid value for \"seconds\" - more than PPROF_MAX_SECONDS";
static const char *const bad_seconds =
	"invalid value for \"seconds\" - must be a positive integer";

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
	char attachment[NAME_SIZE];
	char unit[64];
	char trailer[TRAILER];
};

void comments_add(struct comments *c, const char *format, ...)
{
	size_t room = sizeof(c->text) - c->used;
	va_list args;
	size_t n;

	if (c->n == COMMENTS_MAX || room < 2)
		return;
	va_start(args, format);
	n = fmt_vbuf(c->text + c->used, room, format, args);
	va_end(args);
	c->lines[c->n++] = c->text + c->used;
	c->lines[c->n] = NULL;
	c->used += n < room ? n + 1 : room;
}

void comments_add_drops(struct comments *comments)
{
	for (int i = 0; i < STAT_N; i++) {
		uint64_t n = stat_read((enum stat_id)i);

		if (n && stat_kind((enum stat_id)i) == STAT_KIND_DROP)
			comments_add(comments, "pprofagent: %s=%lu: %s", stat_name((enum stat_id)i), n,
				     stat_meaning((enum stat_id)i));
	}
}

static void drop_taking(struct answer *a)
{
	if (a->taking)
		a->profile->taking->drop(a->taking);
	a->taking = NULL;
}

static void end_sampling(struct answer *a)
{
	a->sampling = false;
	cpu_release();
	if (a->labels)
		cpu_label(false);
}

static void drop_answer(struct exchange *x)
{
	struct answer *a = x->state;

	if (!a)
		return;
	if (a->sampling)
		end_sampling(a);
	if (a->pprof)
		pprof_drop(a->pprof);
	if (a->text)
		text_drop(a->text);
	drop_taking(a);
	snapshot_drop(a->before);
	snapshot_drop(a->now);
	mem_free(a);
	x->state = NULL;
	symbols_trim();
}

static enum job_state fail(struct exchange *x, int status, const char *text)
{
	reply_error(x, status, text);
	return JOB_DONE;
}

/* Without it nobody knows which code is where. */
static bool has_proc(void)
{
	long fd = sys_open("/proc/thread-self/maps", O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		sys_close((int)fd);
	return fd >= 0;
}

enum job_state serve_no_memory(struct exchange *x)
{
	if (!has_proc())
		return fail(x, 500, "/proc/thread-self/maps cannot be read: mount /proc where the program runs");
	stat_add(STAT_NO_MEMORY, 1);
	return fail(x, 500, "out of memory: PPROF_MAX_MEM is too small for this answer");
}

/* The same before the job has begun. */
static void refuse(struct exchange *x)
{
	serve_no_memory(x);
	drop_answer(x);
}

enum job_state serve_wait(struct exchange *x, int fd)
{
	x->wake_fd = fd;
	x->wake_events = fd >= 0 ? POLLIN : 0;
	return JOB_WAIT;
}

static enum job_state write_step(struct exchange *x, uint64_t now_ns)
{
	struct answer *a = x->state;
	int more = a->pprof ? pprof_step(a->pprof, SLICE_NS) : text_step(a->text, SLICE_NS);

	if (more == 2)
		return serve_wait(x, a->pprof ? pprof_wait(a->pprof, &x->wake_ns)
					      : text_wait(a->text, &x->wake_ns));
	if (more > 0)
		return JOB_AGAIN;
	return more < 0 ? serve_no_memory(x) : JOB_DONE;
}

bool serve_wants_labels(const struct request *request)
{
	int64_t labels, debug;

	/* the text form has no place for them */
	if (request_query_int(request, "debug", &debug) == 1 && debug)
		return false;
	return request_query_int(request, "labels", &labels) == 1 ? labels != 0 : options->labels != 0;
}

enum symbolize serve_symbolize(const struct exchange *x)
{
	char word[16];

	if (request_query(&x->request, "symbolize", word, sizeof(word)) > 0) {
		if (!strcmp(word, "none"))
			return SYMBOLIZE_NONE;
		if (!strcmp(word, "names"))
			return SYMBOLIZE_NAMES;
		if (!strcmp(word, "lines"))
			return SYMBOLIZE_LINES;
	}
	return (enum symbolize)options->symbolize;
}

/* The collection is complete in a->now: begins the reply. */
static enum job_state begin_pprof(struct exchange *x)
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
	a->pprof = pprof_begin(&x->body, &a->profile->desc, &a->facts, a->now, serve_symbolize(x),
			       a->labels ? labels_name : NULL);
	if (!a->pprof)
		return serve_no_memory(x);
	x->step = write_step;
	return JOB_AGAIN;
}

static struct answer *new_answer(const struct profile *profile, struct exchange *x)
{
	struct answer *a = mem_zalloc(sizeof(*a));

	if (!a)
		return NULL;
	a->profile = profile;
	a->labels = serve_wants_labels(&x->request);
	a->start_ns = sys_clock_ns(CLOCK_MONOTONIC);
	a->start_real_ns = sys_clock_ns(CLOCK_REALTIME);
	fmt_buf(a->attachment, sizeof(a->attachment), "%s", profile->name);
	x->state = a;
	x->drop = drop_answer;
	return a;
}

/* ---- CPU ---- */

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
	end_sampling(a);
	a->now = snapshot_take(SERIES_CPU, NULL);
	if (!a->now || a->now->incomplete || !snapshot_subtract(a->now, a->before) ||
	    (!a->labels && !snapshot_fold_tags(a->now)))
		return serve_no_memory(x);
	serve_cpu_values(a->now, a->period_ns);
	a->facts.time_ns = a->start_real_ns;
	a->facts.period = (int64_t)a->period_ns;
	return begin_pprof(x);
}

int64_t serve_window(const struct request *request)
{
	int64_t n;

	return request_query_int(request, "seconds", &n) == 1 && n > 0 ? n : 30;
}

void serve_cpu(const struct profile *profile, struct exchange *x)
{
	int64_t seconds = serve_window(&x->request), hz = options->cpu_profile_rate;
	int given = request_query_int(&x->request, "hz", &hz);
	struct answer *a;
	int err;

	if (given < 0 || hz < 1 || hz > 1000) {
		reply_error(x, 400, "invalid value for \"hz\" - must be an integer from 1 to 1000");
		return;
	}
	if (seconds > options->max_seconds) {
		reply_error(x, 400, too_long);
		return;
	}
	if (x->request.method == METHOD_HEAD) {
		reply_begin(x, 200, "application/octet-stream", profile->name);
		return;
	}
	a = new_answer(profile, x);
	if (!a) {
		refuse(x);
		return;
	}
	err = cpu_acquire((unsigned)hz);
	if (err) {
		reply_error(x, 500,
			    err == -EBUSY ? "Could not enable CPU profiling: cpu profiling already "
					    "in use"
					  : "Could not enable CPU profiling: the program uses SIGPROF "
					    "and every real-time signal");
		drop_answer(x);
		return;
	}
	a->sampling = true;
	if (a->labels)
		cpu_label(true);
	a->period_ns = cpu_period_ns();
	a->before = snapshot_take(SERIES_CPU, NULL);
	if (!a->before || a->before->incomplete) {
		refuse(x);
		return;
	}
	a->end_ns = a->start_ns + (uint64_t)seconds * 1000000000u;
	x->wake_ns = a->end_ns;
	x->step = cpu_step;
}

/* ---- named profiles ---- */

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
	more = taking->step(a->taking, SLICE_NS, &x->wake_ns, slot);
	return more == 1 ? JOB_AGAIN : more == 2 ? JOB_WAIT : JOB_DONE;
}

static enum job_state begin_text(struct exchange *x)
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
	}, a->now, serve_symbolize(x));
	if (!a->text)
		return serve_no_memory(x);
	x->step = write_step;
	return JOB_AGAIN;
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
		drop_taking(a);
		if (!a->before || a->before->incomplete)
			return serve_no_memory(x);
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
		return serve_no_memory(x);
	if (a->before) {
		if (!snapshot_subtract(a->now, a->before))
			return serve_no_memory(x);
		a->facts.duration_ns = a->now->mono_ns - a->before->mono_ns;
	}
	if (!a->labels && !snapshot_fold_tags(a->now))
		return serve_no_memory(x);
	if (a->as_text)
		return begin_text(x);
	a->facts.time_ns = a->now->time_ns;
	a->facts.period = a->profile->period ? a->profile->period() : 1;
	if (a->taking && a->profile->taking->finish)
		a->profile->taking->finish(a->taking, &a->facts, &a->comments);
	drop_taking(a);
	return begin_pprof(x);
}

bool serve_parameters(struct exchange *x, int64_t *out_seconds, int64_t *out_debug)
{
	int given;

	*out_seconds = 0;
	given = request_query_int(&x->request, "seconds", out_seconds);
	if (given < 0 || (given && *out_seconds <= 0)) {
		reply_error(x, 400, bad_seconds);
		return false;
	}
	if (request_query_int(&x->request, "debug", out_debug) != 1)
		*out_debug = 0;
	if (given && *out_debug) {
		reply_error(x, 400, "seconds and debug params are incompatible");
		return false;
	}
	if (given && *out_seconds > options->max_seconds) {
		reply_error(x, 400, too_long);
		return false;
	}
	return true;
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
	if (!serve_parameters(x, &seconds, &debug))
		return;
	a = new_answer(profile, x);
	if (!a) {
		refuse(x);
		return;
	}
	a->seconds = seconds;
	a->as_text = debug != 0;
	if (seconds)
		fmt_buf(a->attachment, sizeof(a->attachment), "%s-delta", profile->name);
	if (x->request.method == METHOD_HEAD && !debug) {
		reply_begin(x, 200, "application/octet-stream", a->attachment);
		drop_answer(x);
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
	else if (new_answer(profile, x))
		x->step = named_step;
	else
		refuse(x);
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
		return serve_no_memory(x);
	next = snapshot_copy(a->now, a->profile->cumulative);
	if (!next)
		return serve_no_memory(x);
	if (k->last) {
		if (!snapshot_subtract(a->now, k->last)) {
			snapshot_drop(next);
			return serve_no_memory(x);
		}
		a->facts.duration_ns = a->now->mono_ns - k->last->mono_ns;
	}
	snapshot_drop(k->last);
	k->last = next;
	a->facts.time_ns = a->now->time_ns;
	a->facts.period = a->profile->period ? a->profile->period() : 1;
	return begin_pprof(x);
}

void serve_since_last(const struct profile *profile, struct exchange *x)
{
	struct answer *a;

	if (x->request.method == METHOD_HEAD) {
		reply_begin(x, 200, "application/octet-stream", profile->file);
		return;
	}
	a = new_answer(profile, x);
	if (!a) {
		refuse(x);
		return;
	}
	fmt_buf(a->attachment, sizeof(a->attachment), "%s", profile->file);
	x->step = since_last_step;
}

void serve_missing(const struct profile *profile, struct exchange *x)
{
	reply_error(x, 501, profile->missing);
}
