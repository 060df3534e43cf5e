/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who listens where.
 *
 * Design: before main the starter binds, so that the port is open when main begins; the descriptors
 * are handed to the agent's thread (agent/thread.c) and are closed in the program's table before main.
 * In a forked child the thread opens everything itself, in its private table.
 */
#include "agent/listen.h"

#include <limits.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/attr.h"
#include "agent/base/fmt.h"
#include "agent/base/log.h"
#include "agent/base/sys.h"
#include "agent/collect/contention.h"
#include "agent/collect/heap.h"
#include "agent/collect/process.h"
#include "agent/collect/threads.h"
#include "agent/collect/unwind.h"
#include "agent/collect/unwind_remote.h"
#include "agent/collect/waitsfor.h"
#include "agent/http/listener.h"
#include "agent/http/server.h"
#include "agent/options.h"
#include "agent/output.h"
#include "agent/profiles.h"
#include "agent/target.h"
#include "agent/thread.h"
#include "agent/turn.h"
#include "encode/helper.h"

enum {
	RETRY_FIRST_NS = 50000000,	  /* a worker's next try for the port: doubled each time ... */
	RETRY_LAST_NS = 1000000000,	  /* ... up to this */
	TOKEN_MAX = 4096,
};

static struct {
	const char *token;
	struct server *server; /* NULL: nothing is listening */
	bool worker;	       /* the server is this process's abstract socket, not the port */
	bool quiet;	       /* this process, and what it forks, never listens: PPROF_OUTPUT only */
	uint64_t retry_ns, retry_at_ns;
} self;
static char token_read[TOKEN_MAX] BIG; /* from a file */

size_t listen_describe(char *buf, size_t size)
{
	if (!self.server) {
		buf[0] = '\0';
		return 0;
	}
	return server_describe(self.server, buf, size);
}

bool listen_is_worker(void)
{
	return self.worker;
}

/* The token of PPROF_TOKEN_FILE: its first line. false: the file cannot be used, said so. */
static bool read_token(void)
{
	long n;

	if (!options->token_file) {
		self.token = options->token ? options->token : "";
		return true;
	}
	n = sys_read_file(options->token_file, token_read, sizeof(token_read) - 1);
	if (n < 0) {
		log_line(LOG_ERROR, "cannot read PPROF_TOKEN_FILE=%s (error %ld); not listening",
			 options->token_file, -n);
		return false;
	}
	token_read[n] = '\0';
	token_read[strcspn(token_read, "\r\n")] = '\0';
	self.token = token_read;
	if (token_read[0])
		return true;
	log_line(LOG_ERROR, "PPROF_TOKEN_FILE=%s is empty; not listening", options->token_file);
	return false;
}

static int open_server(const char *address, struct server **out)
{
	const struct server_config config = {
		.address = address,
		.token = self.token,
		.hosts = options->hosts,
		.max_body = 1 << 20,
		.route = profiles_route,
		.methods = profiles_methods,
		.waiting = turn_waiting,
	};
	char error[256];
	int err = server_open(&config, out, error, sizeof(error));

	if (err && err != -EADDRINUSE)
		log_line(LOG_ERROR, "%s", error);
	return err;
}

/* Writes the chosen port or the socket's path, for tools that started us with :0 or a range. */
static void write_port_file(void)
{
	char path[PATH_MAX], text[256];
	const char *from = options->port_file;
	size_t n = 0;
	long fd;

	if (!from || self.worker)
		return;
	for (; *from && n + 16 < sizeof(path); from++) {
		if (from[0] == '%' && from[1] == 'p') {
			n += fmt_buf(path + n, sizeof(path) - n, "%d", sys_getpid());
			from++;
		} else {
			path[n++] = *from;
		}
	}
	path[n] = '\0';
	if (server_port(self.server))
		n = fmt_buf(text, sizeof(text), "%u\n", server_port(self.server));
	else
		n = server_describe(self.server, text, sizeof(text));
	fd = sys_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC);
	if (fd < 0 || sys_write_all((int)fd, text, n) != 0)
		log_line(LOG_WARN, "cannot write PPROF_PORT_FILE=%s (error %ld)", path, -fd);
	if (fd >= 0)
		sys_close((int)fd);
}

/* One line for each address, as a person would type it. */
static void say_where(void)
{
	char text[512];
	size_t n = server_describe(self.server, text, sizeof(text));
	const char *at = text, *end = text + (n < sizeof(text) ? n : sizeof(text) - 1);

	while (at < end) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));

		line_end = line_end ? line_end : end;
		log_line(LOG_INFO, "listening on %.*s", (int)(line_end - at), at);
		at = line_end + 1;
	}
}

static void tell_where(void)
{
	char text[256];

	server_describe(self.server, text, sizeof(text));
	target_write(text, self.worker);
	write_port_file(); /* who reads it may connect: somebody answers */
}

static bool may_hold_port(void)
{
	return process_is_server() || process_is_orphan() || strstr(options->addr, "%p");
}

/* A worker tries for the port again and again: its holder may end. Else it answers on its own
 * abstract socket, through which the holder forwards. */
static void try_listen(uint64_t now_ns)
{
	struct server *server = NULL;
	char name[96];
	int err;

	if (now_ns < self.retry_at_ns)
		return;
	self.retry_ns = self.retry_ns ? self.retry_ns * 2 : RETRY_FIRST_NS;
	if (self.retry_ns > RETRY_LAST_NS)
		self.retry_ns = RETRY_LAST_NS;
	self.retry_at_ns = now_ns + self.retry_ns;
	/* while the parent lives the port is its: workers do not race their master for it */
	err = may_hold_port() ? open_server(options->addr, &server) : -EADDRINUSE;
	if (!err) {
		if (self.server)
			server_close(self.server);
		self.server = server;
		self.worker = false;
		tell_where();
		return;
	}
	if (err != -EADDRINUSE) {
		/* it will not get better by trying */
		self.retry_at_ns = UINT64_MAX;
	}
	if (self.server)
		return;
	fmt_buf(name, sizeof(name), "unix:@pprofagent-%s-%d", agent_family(), sys_getpid());
	if (open_server(name, &server) == 0) {
		self.server = server;
		self.worker = true;
		tell_where();
	}
}

uint64_t listen_tend(uint64_t now_ns)
{
	if (self.quiet || (self.server && !self.worker))
		return UINT64_MAX;
	try_listen(now_ns);
	return self.retry_at_ns;
}

struct server *listen_server(void)
{
	return self.server;
}

static void close_handed(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		sys_close(fds[i]);
}

/* Nobody will be able to ask this process: all hooks only forward. */
static void pass_through(void)
{
	process_set(PROCESS_OFF, NULL);
	heap_start(0, false);
	contention_start(0, 0, false);
	self.server = NULL;
}

/* Nobody can ask, but profiles are written at the end: the thread is started when the process has lived
 * for a while, and in those that only start others never. */
static void listen_to_nobody(void)
{
	self.server = NULL;
	self.quiet = true;
	process_find_strays();
	unwind_start();
	threads_give_altstacks();
	if (!agent_is_launcher())
		process_start_later();
}

static void give_up(void)
{
	if (options->output && output_on())
		listen_to_nobody();
	else
		pass_through();
}

bool listen_is_in_vain(void)
{
	struct address address;
	char error[256];

	/* what else is to be done before main, and by processes that do not listen as well */
	if (options->output || !options->inherit || options->log >= LOG_INFO || log_waiting())
		return false;
	return address_parse(&address, options->addr, sys_getpid(), error, sizeof(error)) == 0 &&
	       listener_taken(&address);
}

/* Opens the listener and gives it to the thread. The program's main has not begun. An address that is
 * taken means that another process is the one to look at. */
void listen_before_main(void)
{
	int fds[4];
	unsigned n;
	int err;

	if (agent_is_launcher() || !strcmp(options->addr, "off") || !read_token()) {
		give_up();
		return;
	}
	err = open_server(options->addr, &self.server);
	if (err == -EADDRINUSE)
		log_line(LOG_INFO, "%s is taken: not listening (PPROF_ADDR=127.0.0.1:6060-6159 takes the "
				   "first free port)", options->addr);
	if (err) {
		give_up();
		return;
	}
	process_find_strays();
	helper_begin();
	unwind_start();
	/* In this thread, because the loader allocates: in one of its own, libc would lay out a heap for it, 64 MiB
	 * of addresses. Now, because forks must not meet a loader at work, and requests not wait for it. */
	tls.flags |= TLS_AGENT; /* what that takes is not the program's */
	unwind_remote_load();
	tls.flags &= (uint16_t)~TLS_AGENT;
	waitsfor_start();
	threads_give_altstacks();
	n = server_descriptors(self.server, fds);
	if (agent_thread_start(fds, n) != 0)
		give_up();
	close_handed(fds, n);
	if (self.server) {
		say_where();
		tell_where();
	}
}

/* In a forked child that lives on. Context: hook. */
void listen_in_child(void)
{
	if ((!strcmp(options->addr, "off") && !output_on()) || agent_is_launcher())
		return;
	unwind_start();
	threads_give_altstacks();
	agent_thread_start(NULL, 0);
}

/* The token stays: it is the same in all processes of a family. */
void listen_child(void)
{
	self.server = NULL;
	self.worker = false;
	self.retry_ns = self.retry_at_ns = 0;
}
