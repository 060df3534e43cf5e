/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/outfile.h"

#include <limits.h>
#include <string.h>
#include <sys/resource.h>

#include "agent/agent.h"
#include "agent/base/attr.h"
#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/sink.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/labels.h"
#include "agent/collect/snapshot.h"
#include "agent/comments.h"
#include "agent/http/request.h"
#include "agent/options.h"
#include "agent/profiles.h"
#include "agent/serve.h"
#include "encode/pprof.h"
#include "encode/symbols.h"

enum { STEP_NS = 5000000, FIRST_ROOM = 16 << 10, PATH_ROOM = 512, OTHERS_MAX = 1000 };

static struct {
	char directory[PATH_MAX]; /* absolute */
	char base[PATH_MAX];	  /* "" until the first set */
} self BIG;

static const struct {
	char file[8];	 /* in the file's name */
	char profile[8]; /* row of agent/profiles.c */
} kinds[] = {
	{ "cpu", "profile" }, { "heap", "heap" },   { "allocs", "allocs" },
	{ "mutex", "mutex" }, { "block", "block" },
};

/* ---- memory as a sink ---- */

struct memory {
	struct sink sink;
	char *data;
	size_t used, room;
};

static int memory_write(struct sink *sink, const void *data, size_t size)
{
	struct memory *m = CONTAINER_OF(sink, struct memory, sink);

	if (size > m->room - m->used) {
		size_t room = m->room ? m->room : FIRST_ROOM;
		char *grown;

		while (room - m->used < size)
			room *= 2;
		grown = mem_realloc(m->data, room);
		if (!grown)
			return -ENOMEM;
		m->data = grown;
		m->room = room;
	}
	memcpy(m->data + m->used, data, size);
	m->used += size;
	return 0;
}

/* ---- names ---- */

static size_t add_program(char *out, size_t room)
{
	size_t n = 0;

	for (const char *at = agent_program(); *at && n < room; at++) {
		bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
			     (*at >= '0' && *at <= '9') || (*at && strchr("._+-", *at));

		out[n++] = plain ? *at : '_';
	}
	return n;
}

bool outfile_expand(char *out, size_t size, const char *pattern)
{
	size_t n = 0;

	for (; *pattern && n + 1 < size; pattern++) {
		if (pattern[0] == '%' && pattern[1] == 'p') {
			n += fmt_buf(out + n, size - n, "%d", sys_getpid());
			pattern++;
		} else if (pattern[0] == '%' && pattern[1] == 'e') {
			n += add_program(out + n, size - n - 1);
			pattern++;
		} else {
			pattern += pattern[0] == '%' && pattern[1] == '%';
			out[n++] = *pattern;
		}
	}
	if (n >= size)
		return false;
	out[n] = '\0';
	return !*pattern;
}

int outfile_make_directory(const char *path)
{
	char part[PATH_MAX];
	size_t size = strlen(path);
	long err = 0;

	if (size >= sizeof(part))
		return -ENAMETOOLONG;
	for (size_t i = 1; i <= size; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		err = SYS3(SYS_mkdirat, AT_FDCWD, part, 0777);
	}
	return err < 0 && err != -EEXIST ? (int)err : 0;
}

int outfile_start(const char *pattern)
{
	char own[PATH_MAX];
	long n = 0, err;

	if (*pattern != '/') {
		n = SYS2(SYS_getcwd, self.directory, sizeof(self.directory) - 1); /* counts the NUL */
		if (n < 0)
			return (int)n;
		self.directory[n - 1] = '/';
	}
	if (!outfile_expand(own, sizeof(own), pattern) ||
	    fmt_buf(self.directory + n, sizeof(self.directory) - (size_t)n, "%s", own) + (size_t)n +
			    PATH_ROOM > sizeof(self.directory))
		return -ENAMETOOLONG;
	err = outfile_make_directory(self.directory);
	if (!err)
		err = SYS3(SYS_faccessat, AT_FDCWD, self.directory, 3 /* W_OK | X_OK */);
	return (int)err;
}

void outfile_child(void)
{
	self.base[0] = '\0';
}

const char *outfile_base(void)
{
	return self.base;
}

/* A process number comes back in a long build, and exec keeps it: files of others stay as they are. */
static bool choose_base(void)
{
	char path[PATH_MAX];
	struct stat st;
	size_t n;

	if (self.base[0])
		return true;
	n = fmt_buf(self.base, sizeof(self.base), "%s/", self.directory);
	if (!outfile_expand(self.base + n, sizeof(self.base) - n, "%e.%p"))
		return false;
	n = strlen(self.base);
	for (unsigned i = 2; i < OTHERS_MAX; i++) {
		fmt_buf(path, sizeof(path), "%s.heap.pb.gz", self.base);
		if (sys_stat(path, &st) != 0)
			return true;
		fmt_buf(self.base + n, sizeof(self.base) - n, ".%u", i);
	}
	return true;
}

/* ---- files ---- */

/* Beyond RLIMIT_FSIZE a write does not only fail: it kills the program by SIGXFSZ. */
static bool may_write(size_t size)
{
	struct rlimit limit;

	return SYS4(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &limit) != 0 || limit.rlim_cur >= size;
}

int outfile_put(const char *path, const void *data, size_t size, unsigned mode)
{
	char part[PATH_MAX];
	long fd, err;

	if (fmt_buf(part, sizeof(part), "%s.tmp", path) >= sizeof(part))
		return -ENAMETOOLONG;
	if (!may_write(size))
		return -EFBIG;
	fd = SYS4(SYS_openat, AT_FDCWD, part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return (int)fd;
	err = sys_write_all((int)fd, data, size);
	sys_close((int)fd);
	if (!err)
		err = sys_rename(part, path);
	if (err)
		sys_unlink(part);
	return (int)err;
}

/* ---- profiles ---- */

struct work {
	const struct outfile_set *set;
	struct profile_facts facts;
	struct comments comments;
	struct memory memory;
};

static const struct profile *find_profile(const char *name)
{
	for (size_t i = 0; i < profiles_n; i++)
		if (!strcmp(profiles[i].name, name))
			return &profiles[i];
	return NULL;
}

static struct snapshot *take(struct work *w, const struct profile *p)
{
	static const struct request plain;
	struct snapshot *s;

	if (p->take) {
		s = p->take(p, &plain);
		if (s) {
			w->facts.time_ns = s->time_ns;
			w->facts.period = p->period ? p->period() : 1;
		}
		return s;
	}
	s = snapshot_take(SERIES_CPU, NULL);
	if (s)
		serve_cpu_values(s, (uint64_t)w->set->cpu_period_ns);
	w->facts.time_ns = w->set->since_real_ns;
	w->facts.period = w->set->cpu_period_ns;
	return s;
}

static int encode(struct work *w, const struct profile *p, struct snapshot *s)
{
	struct pprof_writer *writer;
	int more;

	w->facts.duration_ns = sys_clock_ns(CLOCK_MONOTONIC) - w->set->since_ns;
	comments_add(&w->comments, "pprofagent: %s, process %d, written %s", agent_program(),
		     sys_getpid(), w->set->reason);
	if (p->comment)
		p->comment(s, &w->comments);
	else
		serve_cpu_comments(&w->comments);
	comments_add_drops(&w->comments);
	w->facts.comments = w->comments.lines;
	if (options->labels) {
		labels_refresh();
		w->facts.tag_tid = labels_tid;
	}
	/* files and lines are asked for by the agent's thread only: this may be another one */
	writer = pprof_begin(&w->memory.sink, &p->desc, &w->facts, s,
			     options->symbolize ? SYMBOLIZE_NAMES : SYMBOLIZE_NONE,
			     options->labels ? labels_name : NULL);
	if (!writer)
		return -ENOMEM;
	do {
		more = sys_clock_ns(CLOCK_MONOTONIC) < w->set->deadline_ns ? pprof_step(writer, STEP_NS)
									   : -ETIME;
	} while (more > 0);
	pprof_drop(writer);
	return more;
}

static int write_one(struct work *w, const struct profile *p, const char *file)
{
	struct snapshot *s = take(w, p);
	char path[PATH_MAX];
	size_t n;
	int err;

	if (!s || s->incomplete || (!options->labels && !snapshot_fold_tags(s))) {
		snapshot_drop(s);
		return -ENOMEM;
	}
	err = encode(w, p, s);
	snapshot_drop(s);
	if (err)
		return err;
	n = fmt_buf(path, sizeof(path), "%s.", self.base);
	if (w->set->number)
		n += fmt_buf(path + n, sizeof(path) - n, "%u.", w->set->number);
	n += fmt_buf(path + n, sizeof(path) - n, "%s.pb.gz", file);
	return n < sizeof(path) ? outfile_put(path, w->memory.data, w->memory.used, 0666)
				: -ENAMETOOLONG;
}

void outfile_write(const struct outfile_set *set, struct outfile_result *out)
{
	struct work *w = mem_zalloc(sizeof(*w));

	*out = (struct outfile_result){ 0, 0, 0 };
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		int err = -ENOMEM;

		if (!set->since_ns && !strcmp(kinds[i].file, "cpu"))
			continue;
		if (w && choose_base()) {
			struct memory keep = w->memory;

			memset(w, 0, sizeof(*w));
			w->memory = keep;
			w->memory.sink.write = memory_write;
			w->memory.used = 0;
			w->set = set;
			err = write_one(w, find_profile(kinds[i].profile), kinds[i].file);
		}
		out->written += !err;
		out->failed += err != 0;
		if (err && !out->error)
			out->error = err;
	}
	stat_add(STAT_OUTPUT_WRITTEN, out->written);
	stat_add(STAT_OUTPUT_FAILED, out->failed);
	if (w)
		mem_free(w->memory.data);
	mem_free(w);
	symbols_trim();
}
