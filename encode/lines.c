/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: one request at a time is on the pipe, the head of a queue. Questions go out as the pipe takes
 * them and answers come in their order. When the process dies, another is asked for what is not answered,
 * without the files that encode/lines_gap.c finds to blame. Nothing that comes back is believed beyond
 * being text and numbers of this request.
 */
#include "encode/lines.h"

#include <errno.h>
#include <string.h>

#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/frames.h"
#include "encode/grow.h"
#include "encode/helper.h"
#include "encode/image.h"
#include "encode/lines_reply.h"
#include "encode/lines_work.h"

enum {
	QUESTION_MAX = 3 * 4096 + 256, /* a file's names */
	PIPE_ATOM = 4096, /* PIPE_BUF */
	PER_CLOCK = 64,
	WAKE_NS = 5000000,
	RESTARTS_MAX = 4,
};
#define DEADLINE_NS 2000000000u

static struct {
	struct lines *queue;
	uint64_t seq;
} self;

struct lines *lines_new(struct symbols *symbols, struct locations *locations)
{
	struct lines *l = mem_zalloc(sizeof(*l));

	if (!l)
		return NULL;
	l->symbols = symbols;
	l->locations = locations ? locations : &l->own;
	if (!locations && !locations_init(&l->own)) {
		lines_drop(l);
		return NULL;
	}
	return l;
}

/* Part of a question has been sent: what follows would be read as its rest. */
static bool is_halfway(const struct lines *l)
{
	return l->out_at > 0 && l->output[l->out_at - 1] != '\n';
}

/* Leaves the queue; its place on the pipe goes to the next. */
static void finish(struct lines *l)
{
	struct lines **link = &self.queue;

	l->phase = PHASE_DONE;
	while (*link && *link != l)
		link = &(*link)->next;
	if (*link)
		*link = l->next;
	if (l->queued) {
		lines_gap_end(l, helper_number());
		if (!self.queue)
			lines_reply_rest();
	}
	l->queued = false;
}

/* Goes on without what is not known by now. */
static void fail(struct lines *l, const char *why)
{
	fmt_buf(l->why, sizeof(l->why), "%s", why);
	l->failed = true;
	finish(l);
}

void lines_drop(struct lines *l)
{
	if (!l)
		return;
	if (self.queue == l && is_halfway(l))
		helper_stop(true);
	finish(l);
	locations_free(&l->own);
	lines_results_free(&l->results);
	mem_free(l->questions);
	mem_free(l->files);
	mem_free(l);
}

bool lines_add(struct lines *l, uint64_t address, uint32_t generation)
{
	return address < FRAME_MARKS ||
	       locations_id(l->locations, address, symbols_gone_at(l->symbols, address, generation),
			    generation) != 0;
}

long lines_index(struct lines *l, uint64_t address, uint32_t generation)
{
	if (address < FRAME_MARKS)
		return -1;
	return (long)locations_id(l->locations, address,
				  symbols_gone_at(l->symbols, address, generation), generation) - 1;
}

/* An image among the files of this answer; NULL: no memory. */
static struct file *file_of(struct lines *l, struct image *image)
{
	for (size_t i = l->n_files; i-- > 0;)
		if (l->files[i].image == image)
			return &l->files[i];
	if (!grow_room(&l->files, &l->files_room, l->n_files + 1, sizeof(*l->files)))
		return NULL;
	lines_gap_begin(&l->files[l->n_files], image);
	return &l->files[l->n_files++];
}

/* Which addresses lie in files that can say something. */
static void gather(struct lines *l)
{
	size_t end = l->at + PER_CLOCK;

	if (!l->questions) {
		l->questions = mem_zalloc((l->locations->n + 1) * sizeof(*l->questions));
		if (!l->questions) {
			fail(l, lines_no_memory);
			return;
		}
		l->results.questions = l->questions;
		l->results.n = l->locations->n;
	}
	if (end > l->results.n)
		end = l->results.n;
	for (; l->at < end; l->at++) {
		const struct location *location = &l->locations->list[l->at];
		struct question *q = &l->questions[l->at];
		struct image *image = symbols_image_at(l->symbols, location->address,
						       location->generation, &q->vaddr);
		struct file *file = image ? file_of(l, image) : NULL;
		bool asked = file && file->gap == GAP_NONE;

		if (image && !file) {
			fail(l, lines_no_memory);
			return;
		}
		q->file = asked ? (int32_t)(file - l->files) : -1;
		q->base = location->address - q->vaddr;
		l->n_questions += asked;
		l->n_silent += file && file->gap > GAP_MUTE;
	}
	if (l->at < l->results.n)
		return;
	l->at = 0;
	if (!l->n_questions) {
		finish(l);
		return;
	}
	stat_add(STAT_LINES_ASKED, l->n_questions);
	l->phase = PHASE_ASK;
	l->deadline_ns = sys_clock_ns(CLOCK_MONOTONIC) + DEADLINE_NS;
	for (struct lines **link = &self.queue;; link = &(*link)->next) {
		if (!*link) {
			*link = l;
			break;
		}
	}
	l->queued = true;
}

/* ---- questions ---- */

/* What follows "/proc/self/" or "/proc/thread-self/", which would be another process there; else NULL. */
static const char *below_self(const char *path)
{
	static const char *const selves[] = { "/proc/self/", "/proc/thread-self/" };

	for (unsigned i = 0; i < 2; i++)
		if (strncmp(path, selves[i], strlen(selves[i])) == 0)
			return path + strlen(selves[i]);
	return NULL;
}

static void put_file(struct lines *l, uint32_t number)
{
	struct file *file = &l->files[number];
	size_t room = OUTPUT - l->out_end;
	char *to = l->output + l->out_end;
	struct image_source source;
	const char *below;
	size_t used;

	file->told = true;
	if (!image_source(file->image, &source)) {
		file->gap = GAP_CLOSED;
		return;
	}
	used = fmt_buf(to, room, "%c %x %lx %lx %lx %lx %lx ", source.names ? 'N' : 'M', number,
		       source.dev, source.inode, source.size, source.mtime_s, source.mtime_ns);
	below = below_self(source.path);
	if (below)
		used += fmt_buf(to + used, room - used, "/proc/%d/%s", sys_getpid(), below);
	else
		used += fmt_buf(to + used, room - used, "%s", source.path);
	used += fmt_buf(to + used, room - used, "\t%s\t%s\n", source.other, source.debug);
	l->out_end += used;
}

/* Fills the buffer with whole questions. */
static void fill(struct lines *l)
{
	if (l->out_at == l->out_end)
		l->out_at = l->out_end = 0;
	while (!l->ended_sent && OUTPUT - l->out_end > QUESTION_MAX) {
		struct question *q = &l->questions[l->at];
		char *to = l->output + l->out_end;

		if (!l->seq) {
			l->seq = ++self.seq;
			l->results.seq = l->seq;
			l->out_end += fmt_buf(to, OUTPUT - l->out_end, "R %lx\n", l->seq);
		} else if (l->at == l->results.n) {
			l->out_end += fmt_buf(to, OUTPUT - l->out_end, "E\n");
			l->ended_sent = true;
		} else if (q->file < 0 || q->answered) {
			l->at++;
		} else if (l->files[q->file].gap != GAP_NONE) {
			q->file = -1;
			l->n_questions--;
			l->n_silent++;
		} else if (!l->files[q->file].told) {
			put_file(l, (uint32_t)q->file);
		} else {
			l->out_end += fmt_buf(to, OUTPUT - l->out_end, "A %lx %x %lx\n", l->at,
					      (uint32_t)q->file, q->vaddr);
			q->sent = true;
			l->at++;
		}
	}
}

/* The process is gone: what it said last, whom to blame, and where to begin anew. */
static void restart(struct lines *l)
{
	while (lines_reply_take(&l->results) > 0)
		;
	l->n_answered = l->results.n_answered;
	lines_gap_failures(l);
	if (l->results.ended) {
		finish(l);
		return;
	}
	lines_gap_death(l, helper_number());
	helper_stop(true);
	for (size_t i = 0; i < l->results.n; i++)
		l->questions[i].sent = false;
	for (size_t i = 0; i < l->n_files; i++)
		l->files[i].told = false;
	l->seq = 0;
	l->at = 0;
	l->out_at = l->out_end = 0;
	l->ended_sent = false;
	lines_results_restart(&l->results);
	if (++l->restarts > RESTARTS_MAX)
		fail(l, "pprofagent-symbolize was ended again and again; the next profile asks again");
}

/* Whole questions that a pipe takes all or none of; a single one may be longer. */
static size_t piece(const struct lines *l)
{
	const char *at = l->output + l->out_at;
	size_t left = l->out_end - l->out_at, n = left < PIPE_ATOM ? left : PIPE_ATOM;

	while (n > 0 && at[n - 1] != '\n')
		n--;
	return n ? n : left;
}

/* One round of writing and reading. true: something moved. */
static bool exchange(struct lines *l)
{
	long sent = 0, got;

	fill(l);
	if (l->out_at < l->out_end) {
		sent = helper_send(l->output + l->out_at, piece(l));
		if (sent > 0)
			l->out_at += (size_t)sent;
	}
	got = lines_reply_take(&l->results);
	l->n_answered = l->results.n_answered;
	lines_gap_failures(l);
	if (got == -ENOMEM) {
		fail(l, lines_no_memory);
		return true;
	}
	if (sent < 0 || got < 0) {
		restart(l);
		return true;
	}
	if (l->results.ended)
		finish(l);
	return sent > 0 || got > 0;
}

static int ask(struct lines *l, uint64_t start_ns, uint64_t budget_ns)
{
	for (;;) {
		uint64_t now = sys_clock_ns(CLOCK_MONOTONIC);

		if (now >= l->deadline_ns) {
			l->late = true;
			stat_add(STAT_LINES_LATE, l->n_questions - l->n_answered);
			if (self.queue == l && is_halfway(l))
				helper_stop(true);
			finish(l);
			return 0;
		}
		if (self.queue != l)
			return 2;
		switch (helper_start()) {
		case HELPER_READY:
			break;
		case HELPER_WAIT:
			return 2;
		default:
			fail(l, helper_why());
			return 0;
		}
		if (!exchange(l))
			return 2;
		if (l->phase == PHASE_DONE)
			return 0;
		if (now - start_ns >= budget_ns)
			return 1;
	}
}

int lines_step(struct lines *l, uint64_t budget_ns)
{
	uint64_t start = sys_clock_ns(CLOCK_MONOTONIC);

	while (l->phase == PHASE_GATHER) {
		gather(l);
		if (l->phase == PHASE_GATHER && sys_clock_ns(CLOCK_MONOTONIC) - start >= budget_ns)
			return 1;
	}
	return l->phase == PHASE_ASK ? ask(l, start, budget_ns) : 0;
}

int lines_wait(const struct lines *l, uint64_t *out_wake_ns)
{
	*out_wake_ns = sys_clock_ns(CLOCK_MONOTONIC) + WAKE_NS;
	return self.queue == l ? helper_fd() : -1;
}

void lines_child(void)
{
	self.queue = NULL;
	lines_reply_child();
	helper_child();
}

/* ---- what came of it ---- */

/* Inlined frames that are not shown. */
static unsigned hidden(const struct question *q, const struct symbol *symbol)
{
	return q->n > 1 && symbol->start == q->base + q->vaddr ? q->n - 1u : 0;
}

unsigned lines_count(const struct lines *l, size_t index, const struct symbol *symbol)
{
	const struct question *q = index < l->results.n ? &l->questions[index] : NULL;

	return !q || !q->answered ? 0 : q->n ? q->n - hidden(q, symbol) : q->symbol ? 1 : 0;
}

bool lines_frame(struct lines *l, size_t index, unsigned i, const struct symbol *symbol,
		 struct line_frame *out)
{
	const struct question *q = &l->questions[index];
	const struct reply_frame *frame;
	uint32_t name;

	i += hidden(q, symbol);
	frame = i < q->n ? &l->results.frames[q->first + i] : NULL;
	name = frame ? frame->name : 0;
	*out = (struct line_frame){ .name = symbol->name, .linkage = symbol->linkage, .file = "" };
	if (frame) {
		out->line = frame->line;
		out->start = frame->start;
		if (frame->file)
			out->file = l->results.texts[frame->file - 1].linkage;
	}
	if (i + 1 < q->n) { /* inlined */
		out->name = out->linkage = "[inlined]";
		return !name || lines_reply_name(&l->results, name, &out->name, &out->linkage);
	}
	if (!symbol->unnamed)
		return true;
	if (q->symbol)
		name = l->results.symbols[q->symbol - 1].name;
	return !name || lines_reply_name(&l->results, name, &out->name, &out->linkage);
}
