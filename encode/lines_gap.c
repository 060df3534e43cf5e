/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is missing from an answer, and why; and which file a death of the symbolizing process is laid to.
 *
 * Design: a process that dies of a fault, of its limit of CPU time or for want of memory says first which
 * file it was at work on. After the second time that file is asked for no more. A process that ends
 * without a word was killed: by a person, or for want of memory of the whole machine. The file that it was
 * at work on may have been the reason; after the second death in a row it has to wait, longer each time.
 * One that was not at work on an answer was killed for reasons of its own, and no file is to blame.
 */
#include <string.h>

#include "agent/base/fmt.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "encode/clean.h"
#include "encode/lines_work.h"

enum { FAULTS_MAX = 2, DEATHS_MAX = 2, DOUBLINGS_MAX = 6 };
#define AGAIN_NS 5000000000u

const char lines_no_memory[] = "PPROF_MAX_MEM is too small";

/* What a process was left at work on. */
static struct {
	unsigned number;
	uint64_t dev, inode;
} left;

static bool has_breaks(const char *path)
{
	return strchr(path, '\t') || strchr(path, '\n');
}

void lines_gap_begin(struct file *file, struct image *image)
{
	const struct image_luck *luck = image_luck(image);
	struct image_source source;

	*file = (struct file){ .image = image, .gap = GAP_MUTE };
	if (!image_source(image, &source))
		return;
	file->dev = source.dev;
	file->inode = source.inode;
	file->lines = source.lines;
	if (luck->faults >= FAULTS_MAX)
		file->gap = GAP_FAULTY;
	else if (sys_clock_ns(CLOCK_MONOTONIC) < luck->again_ns)
		file->gap = GAP_KILLED;
	else if (has_breaks(source.path) || has_breaks(source.debug) || has_breaks(source.other))
		file->gap = GAP_NAME;
	else
		file->gap = GAP_NONE;
}

static struct file *file_by_identity(struct lines *l, uint64_t dev, uint64_t inode)
{
	for (size_t i = 0; i < l->n_files; i++)
		if (l->files[i].gap != GAP_MUTE && l->files[i].dev == dev && l->files[i].inode == inode)
			return &l->files[i];
	return NULL;
}

/* The file of the first question without an answer. */
static struct file *file_at_work(struct lines *l)
{
	for (size_t i = 0; i < l->results.n; i++)
		if (l->questions[i].sent && !l->questions[i].answered && l->questions[i].file >= 0)
			return &l->files[l->questions[i].file];
	return NULL;
}

static void suspect(struct file *file)
{
	struct image_luck *luck = image_luck(file->image);
	unsigned more;

	if (++luck->deaths < DEATHS_MAX)
		return;
	more = luck->deaths - DEATHS_MAX < DOUBLINGS_MAX ? luck->deaths - DEATHS_MAX : DOUBLINGS_MAX;
	luck->again_ns = sys_clock_ns(CLOCK_MONOTONIC) + ((uint64_t)AGAIN_NS << more);
	file->gap = GAP_KILLED;
}

void lines_gap_death(struct lines *l, unsigned number)
{
	const struct lines_results *r = &l->results;
	struct file *file;

	if (r->died) {
		file = file_by_identity(l, r->died_dev, r->died_inode);
		if (file && ++image_luck(file->image)->faults >= FAULTS_MAX)
			file->gap = GAP_FAULTY;
	} else if (r->ours) {
		file = file_at_work(l);
		if (file)
			suspect(file);
	} else if (left.number == number) {
		file = file_by_identity(l, left.dev, left.inode);
		if (file)
			suspect(file);
	}
	left.number = 0;
}

void lines_gap_failures(struct lines *l)
{
	struct lines_results *r = &l->results;

	for (size_t i = 0; i < r->n_failures; i++) {
		const struct reply_failure *failure = &r->failures[i];
		struct file *file = failure->file < l->n_files ? &l->files[failure->file] : NULL;

		if (file && file->gap == GAP_NONE && (failure->closed || file->lines))
			file->gap = failure->closed ? GAP_CLOSED : GAP_BROKEN;
	}
	r->n_failures = 0;
}

void lines_gap_end(struct lines *l, unsigned number)
{
	const struct file *at_work = file_at_work(l);

	if (l->results.ended) {
		for (size_t i = 0; i < l->n_files; i++)
			if (l->files[i].told)
				image_luck(l->files[i].image)->deaths = 0;
	} else if (at_work) {
		left.number = number;
		left.dev = at_work->dev;
		left.inode = at_work->inode;
	}
	stat_add(STAT_LINES_SILENT, l->n_silent);
}

/* ---- what is said of it ---- */

/* Without its directories, which may be longer than a comment. */
static void put_reason(const struct file *file, char *buf, size_t size)
{
	static const char *const reasons[] = {
		[GAP_FAULTY] = "pprofagent-symbolize died more than once over the debug information of",
		[GAP_NAME] = "there is a tab or a line break in the name of",
		[GAP_CLOSED] = "pprofagent-symbolize cannot open",
		[GAP_BROKEN] = "pprofagent-symbolize cannot read the debug information of",
		[GAP_KILLED] = "pprofagent-symbolize was killed (too little memory?) at work on",
	};
	const char *path = image_path(file->image), *slash = strrchr(path, '/');
	char name[CLEAN_ROOM(64)];
	uint64_t now = sys_clock_ns(CLOCK_MONOTONIC), again = image_luck(file->image)->again_ns;
	size_t n;

	path = slash ? slash + 1 : path;
	clean_text(name, path, strnlen(path, 64));
	n = fmt_buf(buf, size, "%s %s", reasons[file->gap], name);
	if (file->gap == GAP_KILLED && n < size)
		fmt_buf(buf + n, size - n, ", which is asked for again in %lu s",
			now < again ? (again - now) / 1000000000u + 1 : 0);
}

/* Addresses that the process was asked for in vain. */
static size_t unread(const struct lines *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->results.n; i++)
		n += l->questions[i].file >= 0 && l->questions[i].answered &&
		     l->files[l->questions[i].file].gap != GAP_NONE;
	return n;
}

size_t lines_complaint(const struct lines *l, char *buf, size_t size)
{
	size_t waiting = l ? l->n_questions - l->n_answered : 0, missing, all;
	char reason[320] = "";

	if (!l || (l->failed && !l->n_questions))
		return fmt_buf(buf, size, "pprofagent: files, lines and inlined functions are missing: %s",
			       l ? l->why : lines_no_memory);
	missing = waiting + l->n_silent + unread(l);
	all = l->n_questions + l->n_silent;
	if (!missing)
		return 0;
	for (size_t i = l->n_files; i-- > 0;)
		if (l->files[i].gap > GAP_MUTE)
			put_reason(&l->files[i], reason, sizeof(reason));
	if (l->failed)
		fmt_buf(reason, sizeof(reason), "%s", l->why);
	else if (l->late && waiting)
		return fmt_buf(buf, size, "pprofagent: %zu of %zu addresses have no file, line and inlined "
					  "functions yet: reading debug information takes longer than 2 s; "
					  "the next profile has them%s%s", missing, all,
			       reason[0] ? "; but " : "", reason);
	else if (!reason[0])
		fmt_buf(reason, sizeof(reason), "pprofagent-symbolize did not answer for them");
	return fmt_buf(buf, size, "pprofagent: %zu of %zu addresses have no file, line and inlined functions: %s",
		       missing, all, reason);
}
