/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who listens where, and the agent's thread.
 *
 * Design: before main the starter binds, so that the port is open when main begins; the descriptors
 * are handed to the thread, which makes its descriptor table private, and are closed in the program's
 * table before main: the program's first open is 3 and its close loops do nothing to us (hazard D1).
 * In a forked child the thread opens everything itself, in its private table.
 */
#include "agent/base/attr.h"
#include "agent/collect/census.h"
#include "agent/listen.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/fmt.h"
#include "agent/base/log.h"
#include "agent/base/spin.h"
#include "agent/base/sys.h"
#include "agent/collect/contention.h"
#include "agent/collect/cpu.h"
#include "agent/collect/heap.h"
#include "agent/collect/process.h"
#include "agent/collect/threads.h"
#include "agent/collect/unwind.h"
#include "agent/collect/unwind_remote.h"
#include "agent/collect/waitsfor.h"
#include "agent/http/listener.h"
#include "agent/http/server.h"
#include "agent/isolate.h"
#include "agent/options.h"
#include "agent/output.h"
#include "agent/profiles.h"
#include "agent/target.h"
#include "agent/turn.h"
#include "encode/helper.h"
#include "hooks/real.h"

enum {
	THREAD_STACK = 1 << 20, /* libiberty's demangler recurses; only what is touched is real */
	RETRY_FIRST_NS = 50000000,	  /* a worker's next try for the port: doubled each time ... */
	RETRY_LAST_NS = 1000000000,	  /* ... up to this */
	TEND_NS = 1000000000,
	TOKEN_MAX = 4096,
};

static struct {
	const char *token;
	struct server *server; /* NULL: nothing is listening */
	bool worker;	       /* the server is this process's abstract socket, not the port */
	bool quiet;	       /* this process, and what it forks, never listens: PPROF_OUTPUT only */
	bool private_table;
	uint64_t retry_ns, retry_at_ns;
	struct spin setting_up;  /* held by the agent's thread while it sets up libunwind, and by forks */
	_Atomic uint32_t handed; /* futex: the thread has taken over the descriptors */
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

bool listen_is_private(void)
{
	return self.private_table;
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

	if (self.server && !self.worker)
		return;
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

static void sleep_until(uint64_t until_ns, uint64_t now_ns)
{
	const uint64_t most = (uint64_t)3600 * 1000000000u;
	uint64_t wait = until_ns > now_ns ? until_ns - now_ns : 0;

	turn_waiting(true);
	sys_sleep_ns(wait < most ? wait : most);
	turn_waiting(false);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* libunwind takes a lock of its own while it is set up: a child of a fork in the middle of it would find the
 * lock held for ever, so forks wait for these 50 us. */
static void set_up_libunwind(void)
{
	spin_lock(&self.setting_up);
	unwind_remote_start();
	spin_unlock(&self.setting_up);
}

void listen_before_fork(void)
{
	spin_lock(&self.setting_up);
}

void listen_after_fork(void)
{
	spin_unlock(&self.setting_up);
}

/* With the turn, but for its waits. */
static void agent_loop(void)
{
	uint64_t tend_at_ns = 0;

	for (;;) {
		uint64_t now = sys_clock_ns(CLOCK_MONOTONIC), until = UINT64_MAX;

		if (!self.quiet && (!self.server || self.worker)) {
			try_listen(now);
			until = self.retry_at_ns;
		}
		until = earlier(until, earlier(output_tick(now), target_tick(now)));
		if (now >= tend_at_ns) {
			bool sampling = cpu_tend(), again = sampling || census_watch();

			if (census_only_agents()) {
				output_at_last();
				SYS1(SYS_exit_group, 0);
			}
			if (census_cannot_tell())
				return;
			tend_at_ns = again ? now + TEND_NS : UINT64_MAX;
		}
		if (cpu_needs_tending() || census_watch())
			tend_at_ns = tend_at_ns == UINT64_MAX ? now + TEND_NS : tend_at_ns;
		until = earlier(until, tend_at_ns);
		until = earlier(until, helper_tend(now));
		if (self.server)
			server_turn(self.server, until);
		else
			sleep_until(until, now);
	}
}

static void *agent_thread(void *handed)
{
	int fds[4];
	unsigned n = handed ? server_descriptors(self.server, fds) : 0;

	census_agent_begins();
	sys_prctl(15 /* PR_SET_NAME */, (unsigned long)"pprof-agent", 0);
	self.private_table = isolate_descriptors(fds, n);
	/* before the program goes on, which may change its root at once (hazard G4) */
	isolate_directory();
	atomic_store(&self.handed, self.private_table ? 1 : 2);
	sys_futex_wake((const void *)&self.handed, 1);
	if (!self.private_table) {
		if (!handed)
			log_line(LOG_ERROR, "the kernel gives the agent no descriptor table of its own "
					    "(close_range and unshare refused); not listening");
		census_agent_ends();
		return NULL;
	}
	set_up_libunwind();
	turn_waiting(false);
	agent_loop();
	/* Perhaps nobody is left but this thread: libc counts as well, and ends the process then. */
	turn_waiting(true);
	census_agent_ends();
	return NULL;
}

/* All signals blocked but the two that libc needs for itself: glibc's sigfillset leaves them out. */
static int create_thread(bool handed)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;
	int err;

	if (pthread_attr_init(&attr) != 0)
		return ENOMEM;
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	/* a program with real-time priority must not be preempted by us; asked first, because libc starts
	 * a thread with a policy of its own in two steps */
	if (SYS1(SYS_sched_getscheduler, 0) != SCHED_OTHER)
		pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	/* what libc allocates for it is ours, not an allocation of the program that we missed */
	tls.flags |= TLS_AGENT;
	err = real.pthread_create(&thread, &attr, agent_thread, handed ? &self : NULL);
	tls.flags &= (uint16_t)~TLS_AGENT;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return err;
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
	tls.flags |= TLS_AGENT; /* as in create_thread */
	unwind_remote_load();
	tls.flags &= (uint16_t)~TLS_AGENT;
	waitsfor_start();
	threads_give_altstacks();
	n = server_descriptors(self.server, fds);
	if (create_thread(true) != 0) {
		log_line(LOG_ERROR, "cannot start the agent's thread; not listening");
		close_handed(fds, n);
		give_up();
		return;
	}
	while (!atomic_load(&self.handed))
		sys_futex_wait((const void *)&self.handed, 0, NULL);
	if (atomic_load(&self.handed) != 1) {
		log_line(LOG_ERROR, "the kernel gives the agent no descriptor table of its own "
				    "(close_range and unshare refused); not listening");
		give_up();
	}
	close_handed(fds, n);
	if (self.server)
		say_where();
	if (self.server)
		tell_where();
}

/* In a forked child that lives on. Context: hook. */
void listen_in_child(void)
{
	if ((!strcmp(options->addr, "off") && !output_on()) || agent_is_launcher())
		return;
	unwind_start();
	threads_give_altstacks();
	if (create_thread(false) != 0)
		log_line(LOG_ERROR, "cannot start the agent's thread; not listening");
}

/* The token stays: it is the same in all processes of a family. */
void listen_child(void)
{
	self.server = NULL;
	self.worker = false;
	self.private_table = false;
	self.retry_ns = self.retry_at_ns = 0;
	spin_reset(&self.setting_up);
	atomic_store(&self.handed, 0);
}
