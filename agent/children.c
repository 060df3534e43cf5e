/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/children.h"

#include <string.h>

#include "agent/agent.h"
#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "agent/http/server.h"
#include "agent/serve.h"

/* The whole of a file of unknown size, NUL-terminated; to be freed with mem_free. */
static char *read_all(const char *path)
{
	long fd = sys_open(path, O_RDONLY | O_CLOEXEC), n = 0;
	size_t have = 0, room = 8192;
	char *buf;

	if (fd < 0)
		return NULL;
	buf = mem_alloc(room);
	while (buf && (n = sys_read((int)fd, buf + have, room - 1 - have)) > 0) {
		have += (size_t)n;
		if (have + 1 == room) {
			char *grown = mem_realloc(buf, room * 2);

			if (!grown)
				break;
			buf = grown;
			room *= 2;
		}
	}
	sys_close((int)fd);
	if (buf)
		buf[have] = '\0';
	return buf;
}

static uint64_t number(const char **at)
{
	uint64_t n = 0;

	for (; **at >= '0' && **at <= '9'; (*at)++)
		n = n * 10 + (uint64_t)(**at - '0');
	return n;
}

/* The parent of a process by the kernel's word; 0 when it cannot be read. */
static int parent_of(int pid)
{
	char path[64], stat[1024];
	const char *at;
	long n;

	fmt_buf(path, sizeof(path), "/proc/%d/stat", pid);
	n = sys_read_file(path, stat, sizeof(stat) - 1);
	if (n <= 0)
		return 0;
	stat[n] = '\0';
	at = strrchr(stat, ')');
	if (!at || strlen(at) < 5)
		return 0;
	at += 4; /* ") S " */
	return (int)number(&at);
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

/* Fields 14 and 15 of /proc/PID/stat, behind the last ')', in ticks of 10 ms (USER_HZ). */
static void describe(struct child *c)
{
	char path[64], stat[1024];
	const char *open, *at;
	long n;

	c->name[0] = '\0';
	c->cpu_ms = 0;
	fmt_buf(path, sizeof(path), "/proc/%d/stat", c->pid);
	n = sys_read_file(path, stat, sizeof(stat) - 1);
	if (n <= 0)
		return;
	stat[n] = '\0';
	open = strchr(stat, '(');
	at = strrchr(stat, ')');
	if (!open || !at || at < open)
		return;
	fmt_buf(c->name, sizeof(c->name), "%.*s", (int)(at - open - 1), open + 1);
	for (int field = 2; field < 14 && at; field++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	if (!at)
		return;
	c->cpu_ms = number(&at);
	at += *at == ' ';
	c->cpu_ms = (c->cpu_ms + number(&at)) * 10;
}

int children_visit(void (*see)(const struct child *child, void *arg), void *arg)
{
	char prefix[64];
	size_t size = fmt_buf(prefix, sizeof(prefix), "@pprofagent-%s-", agent_family());
	char *text = read_all("/proc/thread-self/net/unix");
	int last = 0;

	if (!text)
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
