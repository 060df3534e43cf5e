/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/target.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/utsname.h>

#include "agent/agent.h"
#include "agent/base/attr.h"
#include "agent/base/fmt.h"
#include "agent/base/log.h"
#include "agent/base/sys.h"
#include "agent/options.h"
#include "agent/outfile.h"
#include "agent/procstat.h"

enum { ADDRESSES = 256, TEXT = 4096, NAME_ROOM = 96 };

static const uint64_t sweep_ns = 60 * (uint64_t)1000000000;
static const uint64_t again_ns = 1000000000;

static struct {
	char directory[PATH_MAX - NAME_ROOM]; /* absolute; "" when there is none */
	char addresses[ADDRESSES];	      /* of the process that holds the port */
	char path[PATH_MAX];		      /* of our file; "" until it is written */
	_Atomic bool there;
	bool worker;
	uint64_t sweep_at_ns;
	_Atomic uint64_t removed_ns; /* CLOCK_MONOTONIC: for an exec that may fail */
	_Atomic bool ended;	     /* removed for good */
} self BIG;

void target_start(void)
{
	char own[PATH_MAX];
	const char *from = options->sd_dir;
	size_t n = 0;
	long got;
	int err;

	if (!from)
		return;
	if (*from != '/') {
		got = SYS2(SYS_getcwd, own, sizeof(own)); /* counts the NUL */
		if (got < 1)
			return;
		n = fmt_buf(own + got - 1, sizeof(own) - (size_t)got, "/") + (size_t)got - 1;
	}
	if (!outfile_expand(own + n, sizeof(own) - n, from) || strlen(own) >= sizeof(self.directory)) {
		log_line(LOG_ERROR, "PPROF_SD_DIR=%s is too long; no target file is written", from);
		return;
	}
	err = outfile_make_directory(own);
	if (err) {
		log_line(LOG_ERROR,
			 "PPROF_SD_DIR=%s cannot be made (error %d); no target file is written", from, -err);
		return;
	}
	memcpy(self.directory, own, strlen(own) + 1);
}

/* Clock ticks between the machine's start and the process's. 0: there is none such. */
static uint64_t started(const char *process)
{
	struct procstat stat;

	return procstat_read(&stat, process) ? procstat_number(&stat, PROCSTAT_STARTED) : 0;
}

/* "pprofagent-<pid namespace>-"; the text of the link is pid:[4026531836]. */
static size_t name_prefix(char *buf, size_t size)
{
	char link[64];
	long n = sys_readlink("/proc/thread-self/ns/pid", link, sizeof(link) - 1);
	char *at;

	link[n < 0 ? 0 : n] = '\0';
	at = strchr(link, '[');
	if (at && strchr(at, ']'))
		*strchr(at, ']') = '\0';
	return fmt_buf(buf, size, "pprofagent-%s-", at ? at + 1 : "0");
}

/* Text inside a JSON string; what could end it, or is no ASCII, becomes '?'. */
static size_t add_text(char *out, size_t room, const char *text)
{
	size_t n = 0;

	for (; *text && n + 1 < room; text++)
		out[n++] = *text < ' ' || *text > '~' || *text == '"' || *text == '\\' ? '?' : *text;
	out[n] = '\0';
	return n;
}

/* FNV-1a of the command line: the same for all instances of a service. */
static uint64_t command_hash(void)
{
	char text[4096];
	long n = sys_read_file("/proc/thread-self/cmdline", text, sizeof(text));
	uint64_t hash = 0xcbf29ce484222325u;

	for (long i = 0; i < n; i++)
		hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
	return hash;
}

/* "http://127.0.0.1:6060/debug/pprof/" -> 127.0.0.1:6060; an address that stands for all gets the name
 * of the machine. false: no such line. */
static bool find_address(const char *addresses, char *out, size_t size)
{
	static const char scheme[] = "http://";
	const char *at = strstr(addresses, scheme), *end, *port, *end_of_port;
	struct utsname names;
	size_t n;

	if (!at)
		return false;
	at += sizeof(scheme) - 1;
	end = strchr(at, '/');
	n = end ? (size_t)(end - at) : strlen(at);
	if (strncmp(at, "0.0.0.0:", 8) != 0 && strncmp(at, "[::]:", 5) != 0)
		return fmt_buf(out, size, "%.*s", (int)n, at) < size;
	if (SYS1(SYS_uname, &names) != 0)
		return false;
	end_of_port = at + n;
	for (port = end_of_port; port > at && port[-1] != ':'; port--)
		;
	n = add_text(out, size, names.nodename);
	return fmt_buf(out + n, size - n, ":%.*s", (int)(end_of_port - port), port) < size - n;
}

static void put(void)
{
	char text[TEXT], exe[256], address[256], prefix[64] = "";
	size_t n;
	int err;

	if (!find_address(self.addresses, address, sizeof(address))) {
		log_line(LOG_WARN, "PPROF_SD_DIR: scrapers reach TCP addresses only; no target file is "
				   "written for %s", options->addr);
		return;
	}
	add_text(exe, sizeof(exe), agent_program());
	if (self.worker)
		fmt_buf(prefix, sizeof(prefix), "/child/%d", sys_getpid());
	n = fmt_buf(text, sizeof(text),
		    "[{\"targets\": [\"%s\"], \"labels\": {\"exe\": \"%s\", \"pid\": \"%d\", "
		    "\"cmd_hash\": \"%lx\", \"__metrics_path__\": \"/debug/pprof%s/agent\", "
		    "\"__param_format\": \"prometheus\", \"__pprof_path__\": \"/debug/pprof%s\"}}]\n",
		    address, exe, sys_getpid(), command_hash(), prefix, prefix);
	err = n < sizeof(text) ? outfile_put(self.path, text, n, 0666) : -ENAMETOOLONG;
	if (err)
		log_line(LOG_WARN, "PPROF_SD_DIR: cannot write %s (error %d)", self.path, -err);
	atomic_store(&self.there, err == 0);
	if (atomic_load(&self.ended) && atomic_exchange(&self.there, false))
		sys_unlink(self.path);
}

void target_write(const char *addresses, bool worker)
{
	size_t n;

	if (!self.directory[0])
		return;
	/* a worker's own socket can only be reached through the process that holds the port */
	if (!worker)
		fmt_buf(self.addresses, sizeof(self.addresses), "%s", addresses);
	self.worker = worker;
	n = fmt_buf(self.path, sizeof(self.path), "%s/", self.directory);
	n += name_prefix(self.path + n, sizeof(self.path) - n);
	fmt_buf(self.path + n, sizeof(self.path) - n, "%d-%lu.json", sys_getpid(), started("self"));
	put();
}

void target_remove(bool for_good)
{
	if (for_good)
		atomic_store(&self.ended, true);
	atomic_store(&self.removed_ns, sys_clock_ns(CLOCK_MONOTONIC));
	if (atomic_exchange(&self.there, false))
		sys_unlink(self.path);
}

/* Is this a target file of our namespace whose process is gone? */
static bool is_stale(const char *name, const char *prefix, size_t prefix_size)
{
	char process[16];
	uint64_t ticks = 0;
	size_t n = 0;

	if (strncmp(name, prefix, prefix_size) != 0)
		return false;
	for (name += prefix_size; *name >= '0' && *name <= '9' && n + 1 < sizeof(process); name++)
		process[n++] = *name;
	process[n] = '\0';
	if (!n || *name != '-')
		return false;
	for (name++; *name >= '0' && *name <= '9'; name++)
		ticks = ticks * 10 + (uint64_t)(*name - '0');
	return !strcmp(name, ".json") && started(process) != ticks;
}

static void sweep(void)
{
	_Alignas(8) char buf[4096];
	char prefix[64], path[PATH_MAX];
	size_t prefix_size = name_prefix(prefix, sizeof(prefix));
	long fd, got;

	/* without /proc every process would look ended */
	if (!started("self"))
		return;
	fd = sys_open(self.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	while ((got = sys_getdents((int)fd, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < got;) {
			unsigned short size = *(unsigned short *)(buf + at + 16);
			const char *name = buf + at + 19;

			at += size;
			if (is_stale(name, prefix, prefix_size) &&
			    fmt_buf(path, sizeof(path), "%s/%s", self.directory, name) < sizeof(path))
				sys_unlink(path);
		}
	}
	sys_close((int)fd);
}

uint64_t target_tick(uint64_t now_ns)
{
	uint64_t removed;

	if (!self.directory[0])
		return UINT64_MAX;
	if (!self.path[0])
		return now_ns + again_ns; /* not listening yet */
	if (now_ns >= self.sweep_at_ns) {
		sweep();
		self.sweep_at_ns = now_ns + sweep_ns;
	}
	removed = atomic_load(&self.removed_ns);
	if (!removed || atomic_load(&self.there) || atomic_load(&self.ended))
		return now_ns + again_ns < self.sweep_at_ns ? now_ns + again_ns : self.sweep_at_ns;
	if (now_ns >= removed + again_ns)
		put();
	return now_ns + again_ns;
}

void target_child(void)
{
	self.path[0] = '\0';
	atomic_store(&self.there, false);
	atomic_store(&self.ended, false);
	atomic_store(&self.removed_ns, 0);
	self.sweep_at_ns = 0;
}
