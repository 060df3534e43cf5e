/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stamp is the thread's CPU clock: one short system call without a file, and no thread wakes up
 * and sleeps again without it moving, as it counts nanoseconds. On a machine where it counts ticks
 * the numbers of context switches do the same at thirty times the price.
 */
#include "agent/collect/task.h"

#include <string.h>

#include "agent/base/fmt.h"
#include "agent/base/sys.h"

enum {
	FINE_NS = 100000,  /* two reads of a good clock lie less than this apart */
	CHECK_EVERY = 256, /* stamps: a machine may change its clock */
};

static struct {
	unsigned stamps;
	bool fine; /* CPU clocks count in steps that no thread can slip through */
} self;

int task_directory(void)
{
	return (int)sys_open("/proc/thread-self/../", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static long open_file(int directory, int tid, const char *file)
{
	char path[48];

	fmt_buf(path, sizeof(path), "%d/%s", tid, file);
	return sys_openat(directory, path, O_RDONLY | O_CLOEXEC);
}

static const char *after_blanks(const char *at)
{
	while (*at == ' ' || *at == '\t')
		at++;
	return at;
}

static uint64_t decimal(const char *at)
{
	uint64_t v = 0;

	for (at = after_blanks(at); *at >= '0' && *at <= '9'; at++)
		v = v * 10 + (uint64_t)(*at - '0');
	return v;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *hex(const char *at, uint64_t *out)
{
	uint64_t v = 0;

	at = after_blanks(at);
	if (at[0] == '0' && at[1] == 'x')
		at += 2;
	for (int d; (d = hex_digit(*at)) >= 0; at++)
		v = v << 4 | (uint64_t)d;
	*out = v;
	return at;
}

/* "1234 (name) S ...": the name may hold anything, also brackets. */
int task_facts(int directory, int tid, struct task_facts *out)
{
	char buf[512];
	long fd = open_file(directory, tid, "stat"), n;
	const char *from, *to;
	size_t size;

	memset(out, 0, sizeof(*out));
	out->state = '?';
	if (fd < 0)
		return (int)fd;
	n = sys_read((int)fd, buf, sizeof(buf) - 1);
	sys_close((int)fd);
	if (n <= 0)
		return n < 0 ? (int)n : -ESRCH;
	buf[n] = '\0';
	from = strchr(buf, '(');
	to = strrchr(buf, ')');
	if (!from || !to || to < from || to[1] != ' ')
		return 0;
	size = (size_t)(to - from - 1);
	memcpy(out->name, from + 1, size < TASK_NAME_SIZE ? size : TASK_NAME_SIZE - 1);
	out->state = to[2];
	return 0;
}

static void status_line(const char *line, struct task_status *out)
{
	if (!strncmp(line, "SigBlk:", 7))
		hex(line + 7, &out->blocked);
	else if (!strncmp(line, "SigPnd:", 7))
		hex(line + 7, &out->pending);
	else if (!strncmp(line, "voluntary_ctxt_switches:", 24))
		out->switches += decimal(line + 24);
	else if (!strncmp(line, "nonvoluntary_ctxt_switches:", 27))
		out->switches += decimal(line + 27);
}

/* Line by line: the list of groups may be longer than any buffer. */
int task_status(int directory, int tid, struct task_status *out)
{
	char buf[2048 + 1];
	size_t have = 0;
	bool skipping = false;
	long fd = open_file(directory, tid, "status"), n;

	memset(out, 0, sizeof(*out));
	if (fd < 0)
		return (int)fd;
	while ((n = sys_read((int)fd, buf + have, sizeof(buf) - 1 - have)) > 0) {
		char *line = buf, *end;

		have += (size_t)n;
		buf[have] = '\0';
		for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
			*end = '\0';
			if (!skipping)
				status_line(line, out);
			skipping = false;
		}
		have -= (size_t)(line - buf);
		memmove(buf, line, have);
		if (have == sizeof(buf) - 1) {
			skipping = true;
			have = 0;
		}
	}
	sys_close((int)fd);
	return n < 0 ? (int)n : 0;
}

int task_call_open(int directory, int tid)
{
	return (int)open_file(directory, tid, "syscall");
}

enum task_where task_call_read(int fd, char text[TASK_CALL_SIZE], struct task_call *out)
{
	long n = sys_pread(fd, text, TASK_CALL_SIZE - 1, 0);
	const char *at = text;
	uint64_t value[8];
	int count = 0;

	if (n <= 0)
		return n == -ESRCH || n == 0 ? TASK_GONE : TASK_DENIED;
	text[n] = '\0';
	if (!strncmp(text, "running", 7))
		return TASK_RUNNING;
	out->nr = *at == '-' ? -1 : (long)decimal(at);
	at = strchr(at, ' ');
	while (at && count < 8 && *after_blanks(at) == '0')
		at = hex(at, &value[count++]);
	memset(out->arg, 0, sizeof(out->arg));
	if (count < 2)
		return TASK_DENIED;
	if (count == 8)
		memcpy(out->arg, value, sizeof(out->arg));
	out->sp = value[count - 2];
	out->pc = value[count - 1];
	/* what the kernel says of a thread that has left its stack for good */
	return out->pc ? TASK_ASLEEP : TASK_GONE;
}

static bool clock_is_fine(void)
{
	uint64_t first = sys_clock_ns(CLOCK_THREAD_CPUTIME_ID);
	uint64_t apart = sys_clock_ns(CLOCK_THREAD_CPUTIME_ID) - first;

	return apart > 0 && apart < FINE_NS;
}

uint64_t task_stamp(int directory, int tid)
{
	struct task_status status;

	if (self.stamps++ % CHECK_EVERY == 0)
		self.fine = clock_is_fine();
	if (self.fine)
		return sys_clock_ns(sys_thread_cpu_clock(tid));
	return task_status(directory, tid, &status) == 0 ? status.switches + 1 : 0;
}

/* Time of the run queue's clock at which the thread last went on or off its processor, in ns. */
static bool exec_start(int directory, int tid, uint64_t *out_ns)
{
	static const char field[] = "se.exec_start";
	char buf[512];
	long fd = open_file(directory, tid, "sched"), n;
	const char *at;
	uint64_t part = 0, scale = 1000000;

	if (fd < 0)
		return false;
	n = sys_pread((int)fd, buf, sizeof(buf) - 1, 0);
	sys_close((int)fd);
	if (n <= 0)
		return false;
	buf[n] = '\0';
	at = strstr(buf, field);
	at = at ? strchr(at, ':') : NULL;
	if (!at)
		return false;
	*out_ns = decimal(at + 1) * 1000000;
	at = strchr(at, '.');
	for (at = at ? at + 1 : ""; *at >= '0' && *at <= '9' && scale > 1; at++) {
		scale /= 10;
		part += (uint64_t)(*at - '0') * scale;
	}
	*out_ns += part;
	return *out_ns != 0;
}

bool task_clock_behind(int directory, uint64_t *out_ns)
{
	uint64_t now, real;

	if (!exec_start(directory, sys_gettid(), &now))
		return false;
	real = sys_clock_ns(CLOCK_MONOTONIC);
	*out_ns = real > now ? real - now : now - real;
	/* ahead of it: the machine was suspended, or the clock is none that we know */
	return real > now;
}

bool task_idle_ns(int directory, int tid, uint64_t behind_ns, uint64_t *out_ns)
{
	uint64_t then, now = sys_clock_ns(CLOCK_MONOTONIC) - behind_ns;

	if (!exec_start(directory, tid, &then))
		return false;
	*out_ns = now > then ? now - then : 0;
	return true;
}
