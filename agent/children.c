/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/children.h"

#include <string.h>

#include "agent/agent.h"
#include "agent/base/file.h"
#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "agent/http/server.h"
#include "agent/procstat.h"
#include "agent/serve.h"

static uint64_t number(const char **at)
{
	uint64_t n = 0;

	for (; **at >= '0' && **at <= '9'; (*at)++)
		n = n * 10 + (uint64_t)(**at - '0');
	return n;
}

/* Of the process with this number. */
static bool read_stat(struct procstat *stat, int pid)
{
	char text[16];

	fmt_buf(text, sizeof(text), "%d", pid);
	return procstat_read(stat, text);
}

/* The parent of a process by the kernel's word; 0 when it cannot be read. */
static int parent_of(int pid)
{
	struct procstat stat;

	return read_stat(&stat, pid) ? (int)procstat_number(&stat, PROCSTAT_PARENT) : 0;
}

/* A descendant of ours, or of the process that forked us: a server's worker may have given up root, so
 * its user id does not tell that it is one of us, but nobody else can be born into the family. */
static bool is_relative(int pid)
{
	int own_parent = sys_getppid();

	for (int steps = 0; pid > 1 && steps < 32; steps++) {
		pid = parent_of(pid);
		if (pid == sys_getpid() || (pid == own_parent && pid > 1))
			return true;
	}
	return false;
}

static void describe(struct child *c)
{
	enum { MS_PER_TICK = 10 }; /* USER_HZ */
	struct procstat stat;

	c->name[0] = '\0';
	c->cpu_ms = 0;
	if (!read_stat(&stat, c->pid))
		return;
	fmt_buf(c->name, sizeof(c->name), "%s", stat.name);
	c->cpu_ms = MS_PER_TICK * (procstat_number(&stat, PROCSTAT_USER_TICKS) +
				   procstat_number(&stat, PROCSTAT_SYSTEM_TICKS));
}

int children_visit(void (*see)(const struct child *child, void *arg), void *arg)
{
	char prefix[64];
	size_t size = fmt_buf(prefix, sizeof(prefix), "@pprofagent-%s-", agent_family());
	char *text;
	int last = 0;

	if (file_read_all("/proc/thread-self/net/unix", &text) < 0)
		return -ENOENT;
	for (const char *at = text; (at = strstr(at, prefix)) != NULL;) {
		struct child c;

		at += size;
		c.pid = (int)number(&at);
		/* a connected socket is listed beside the one that listens */
		if (c.pid <= 0 || c.pid == sys_getpid() || c.pid == last)
			continue;
		last = c.pid;
		describe(&c);
		see(&c, arg);
	}
	mem_free(text);
	return 0;
}

void serve_child(struct exchange *x, const char *rest)
{
	char name[96], target[REQUEST_TARGET_MAX + 64];
	const char *at = rest;
	uint64_t pid = number(&at);
	int err;

	if (at == rest || *at != '/' || pid == 0 || pid > 4194304) {
		reply_error(x, 404, "Unknown child: the index lists them as child/PID/");
		return;
	}
	fmt_buf(name, sizeof(name), "pprofagent-%s-%lu", agent_family(), pid);
	fmt_buf(target, sizeof(target), "/debug/pprof/%s%s%.*s", at + 1,
		x->request.query.at ? "?" : "", (int)x->request.query.size,
		x->request.query.at ? x->request.query.at : "");
	err = exchange_forward(x, name, target, is_relative((int)pid) ? (int)pid : 0);
	if (err)
		reply_error(x, 502, "This child does not answer: it has ended, or it is not one of "
				    "this program's processes");
}
