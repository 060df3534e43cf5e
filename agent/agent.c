/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of the agent in a process: constructor, start before main, the agent's thread, fork.
 *
 * Design: the constructor only makes the hooks usable and reads the settings from its third argument,
 * because libc's own initialiser has not run and `environ` is empty (a dlopen at that moment can wipe
 * the program's environment). The listener is opened when all initialisers have run, just before
 * main, so that the port is open when main begins; descriptors are handed to the agent's thread,
 * which makes its descriptor table private, and are closed in the program's table before main: the
 * program's first open is 3 and its close loops do nothing to us (hazard D1). In a forked child the
 * thread opens everything itself, in its private table.
 *
 * There is no destructor and no atexit handler: hooks run until the last instruction (hazard I1).
 */
#include "agent/agent.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/auxv.h>

#include "agent/base/attr.h"
#include "agent/base/budget.h"
#include "agent/base/fmt.h"
#include "agent/base/log.h"
#include "agent/base/mem.h"
#include "agent/base/random.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/base/tls.h"
#include "agent/base/vdso.h"
#include "agent/collect/altstack.h"
#include "agent/collect/buckets.h"
#include "agent/collect/contention.h"
#include "agent/collect/cpu.h"
#include "agent/collect/heap.h"
#include "agent/collect/heap.h"
#include "agent/collect/modules.h"
#include "agent/collect/process.h"
#include "agent/collect/record.h"
#include "agent/collect/signals.h"
#include "agent/collect/stacks.h"
#include "agent/collect/threads.h"
#include "agent/collect/unwind.h"
#include "agent/http/server.h"
#include "agent/inherit.h"
#include "agent/isolate.h"
#include "agent/launchers.h"
#include "agent/options.h"
#include "agent/profiles.h"
#include "hooks/layout.h"
#include "hooks/real.h"

enum {
	THREAD_STACK = 256 << 10,
	RETRY_FIRST_NS = 50000000,	  /* a worker's next try for the port: doubled each time ... */
	RETRY_LAST_NS = 1000000000,	  /* ... up to this */
	TEND_NS = 1000000000,
	TOKEN_MAX = 4096,
};

static struct {
	char program[NAME_MAX + 1]; /* file name of the executable */
	char called[NAME_MAX + 1];  /* file name in argv[0]: symbolic links keep their name here */
	char family[40];
	char token[TOKEN_MAX];
	uint64_t started_ns;
	struct server *server; /* NULL: nothing is listening */
	bool worker;	       /* the server is this process's abstract socket, not the port */
	bool private_table;
	uint64_t retry_ns, retry_at_ns;
	_Atomic uint32_t handed; /* futex: the thread has taken over the descriptors */
} self;

const char *agent_program(void)
{
	return self.called[0] ? self.called : self.program;
}

const char *agent_family(void)
{
	return self.family;
}

uint64_t agent_started_ns(void)
{
	return self.started_ns;
}

size_t agent_listening(char *buf, size_t size)
{
	if (!self.server) {
		buf[0] = '\0';
		return 0;
	}
	return server_describe(self.server, buf, size);
}

bool agent_is_private(void)
{
	return self.private_table;
}

bool agent_is_worker(void)
{
	return self.worker;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void read_program_names(const char *argv0)
{
	char path[PATH_MAX];
	long n = sys_readlink("/proc/self/exe", path, sizeof(path) - 1);

	path[n < 0 ? 0 : n] = '\0';
	fmt_buf(self.program, sizeof(self.program), "%s", base_name(path));
	/* login shells are called "-bash" */
	fmt_buf(self.called, sizeof(self.called), "%s", argv0 ? base_name(argv0 + (*argv0 == '-')) : "");
}

static enum process_role decide_role(char **argv)
{
	if (getauxval(AT_SECURE) || real_is_second_copy())
		return PROCESS_OFF;
	if (options->exe)
		return launchers_match(options->exe, self.program) ||
				       launchers_match(options->exe, self.called)
			       ? PROCESS_TARGET
			       : PROCESS_OFF;
	return launchers_is_one(self.program, argv) ? PROCESS_OFF : PROCESS_TARGET;
}

/* The token of PPROF_TOKEN_FILE: its first line. false: the file cannot be used, said so. */
static bool read_token(void)
{
	long n;

	if (!options->token_file) {
		fmt_buf(self.token, sizeof(self.token), "%s", options->token ? options->token : "");
		return true;
	}
	n = sys_read_file(options->token_file, self.token, sizeof(self.token) - 1);
	if (n < 0) {
		log_line(LOG_ERROR, "cannot read PPROF_TOKEN_FILE=%s (error %ld); not listening",
			 options->token_file, -n);
		return false;
	}
	self.token[n] = '\0';
	self.token[strcspn(self.token, "\r\n")] = '\0';
	if (self.token[0])
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

static bool may_hold_port(void)
{
	return process_is_server() || process_is_orphan() || strstr(options->addr, "%p") ||
	       strchr(options->addr, '-') || strstr(options->addr, ":0");
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
		write_port_file();
		return;
	}
	if (err != -EADDRINUSE) {
		/* it will not get better by trying */
		self.retry_at_ns = UINT64_MAX;
	}
	if (self.server)
		return;
	fmt_buf(name, sizeof(name), "unix:@pprofagent-%s-%d", self.family, sys_getpid());
	if (open_server(name, &server) == 0) {
		self.server = server;
		self.worker = true;
	}
}

static void agent_loop(void)
{
	uint64_t tend_at_ns = 0;

	for (;;) {
		uint64_t now = sys_clock_ns(CLOCK_MONOTONIC), until = UINT64_MAX;

		if (!self.server || self.worker) {
			try_listen(now);
			until = self.retry_at_ns;
		}
		if (now >= tend_at_ns) {
			bool again = cpu_tend() | threads_watch();

			if (threads_only_agents())
				SYS1(SYS_exit_group, 0);
			tend_at_ns = again ? now + TEND_NS : UINT64_MAX;
		}
		if (cpu_period_ns() || threads_watch())
			tend_at_ns = tend_at_ns == UINT64_MAX ? now + TEND_NS : tend_at_ns;
		if (tend_at_ns < until)
			until = tend_at_ns;
		if (self.server) {
			server_turn(self.server, until);
		} else {
			uint64_t wait = until > now ? until - now : 0;

			sys_sleep_ns(wait < (uint64_t)3600 * 1000000000u ? wait
									 : (uint64_t)3600 * 1000000000u);
		}
	}
}

static void *agent_thread(void *handed)
{
	int fds[4];
	unsigned n = handed ? server_descriptors(self.server, fds) : 0;

	threads_is_agent();
	sys_prctl(15 /* PR_SET_NAME */, (unsigned long)"pprof-agent", 0);
	self.private_table = isolate_descriptors(fds, n);
	atomic_store(&self.handed, self.private_table ? 1 : 2);
	sys_futex_wake((const void *)&self.handed, 1);
	if (!self.private_table && !handed) {
		log_line(LOG_ERROR, "the kernel gives the agent no descriptor table of its own "
				    "(close_range and unshare refused); not listening");
		return NULL;
	}
	if (!self.private_table)
		return NULL;
	isolate_directory();
	agent_loop();
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
	pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = real.pthread_create(&thread, &attr, agent_thread, handed ? &self : NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return err;
}

static void close_handed(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		sys_close(fds[i]);
}

/* Opens the listener and gives it to the thread. The program's main has not begun. */
static void start_in_parent(void)
{
	int fds[4];
	unsigned n;

	if (!strcmp(options->addr, "off") || !read_token())
		return;
	if (open_server(options->addr, &self.server) != 0) {
		/* taken: another process is the one that is meant, and nobody could ask us */
		process_set(PROCESS_OFF, NULL);
		contention_start(0, 0, false);
		return;
	}
	unwind_start();
	threads_give_altstacks();
	n = server_descriptors(self.server, fds);
	write_port_file();
	if (create_thread(true) != 0) {
		log_line(LOG_ERROR, "cannot start the agent's thread; not listening");
		close_handed(fds, n);
		self.server = NULL;
		return;
	}
	while (!atomic_load(&self.handed))
		sys_futex_wait((const void *)&self.handed, 0, NULL);
	if (atomic_load(&self.handed) != 1) {
		log_line(LOG_ERROR, "the kernel gives the agent no descriptor table of its own "
				    "(close_range and unshare refused); not listening");
		self.server = NULL;
	}
	close_handed(fds, n);
}

/* In a forked child that lives on. Context: hook. */
static void start_in_child(void)
{
	if (!strcmp(options->addr, "off"))
		return;
	self.started_ns = sys_clock_ns(CLOCK_MONOTONIC);
	unwind_start();
	threads_give_altstacks();
	if (create_thread(false) != 0)
		log_line(LOG_ERROR, "cannot start the agent's thread; not listening");
}

static void end_thread(struct thread *thread)
{
	cpu_thread_end(thread);
	contention_thread_end(thread);
}

static void last_application_thread(void)
{
	exit(0); /* as libc does when its last thread ends */
}

/* Order of resetting in a forked child: first what others build on. */
static const struct {
	const char *name;
	void (*child)(void);
} modules[] = {
	{ "log", log_child },	      { "mem", mem_child },	    { "stats", stats_child },
	{ "random", random_child },   { "threads", threads_child }, { "cpu", cpu_child },
	{ "heap", heap_child },	      { "contention", contention_child },
	{ "record", record_child },   { "modules", modules_child }, { "profiles", profiles_child },
	{ "process", process_child },
};

/* The sampling signal interrupts the kernel's copying of a large process for ever (hazard D3). */
static void before_fork(void)
{
	int sig = atomic_load(&signals_held);
	uint64_t set = sig ? (uint64_t)1 << (sig - 1) : 0, before = 0;

	process_before_fork();
	if (cpu_period_ns() && set && sys_sigprocmask(SIG_BLOCK, &set, &before) == 0 &&
	    !(before & set))
		tls.flags |= TLS_FORKING;
}

static void unblock_signal(void)
{
	int sig = atomic_load(&signals_held);
	uint64_t set = sig ? (uint64_t)1 << (sig - 1) : 0;

	if (!(tls.flags & TLS_FORKING))
		return;
	tls.flags &= (uint16_t)~TLS_FORKING;
	sys_sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void after_fork(void)
{
	unblock_signal();
	process_forked();
	stat_add(STAT_FORKS, 1);
}

static void in_child(void)
{
	bool guarded = guard_enter();

	self.server = NULL;
	self.worker = false;
	self.private_table = false;
	self.retry_ns = self.retry_at_ns = 0;
	atomic_store(&self.handed, 0);
	for (size_t i = 0; i < ARRAY_LEN(modules); i++)
		modules[i].child();
	unblock_signal();
	if (guarded)
		guard_leave();
}

/* pthread_atfork is a static piece of glibc's that imports this symbol; imported strongly, programs of
 * another libc would not start (hazard A10). */
extern int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
			     void *dso) __attribute__((weak));

static void register_fork_handlers(void)
{
	int (*atfork)(void (*)(void), void (*)(void), void (*)(void));

	if (__register_atfork) {
		__register_atfork(before_fork, after_fork, in_child, NULL);
		return;
	}
	atfork = (__typeof__(atfork))dlsym(RTLD_NEXT, "pthread_atfork");
	if (atfork)
		atfork(before_fork, after_fork, in_child);
}

/* Does the parent process carry this library? Then it has said already what there is to say. */
static bool parent_has_agent(void)
{
	char path[64], buf[4096 + 1];
	bool found = false;
	long fd, n;
	size_t keep = 0;

	fmt_buf(path, sizeof(path), "/proc/%d/maps", sys_getppid());
	fd = sys_open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while (!found && (n = sys_read((int)fd, buf + keep, sizeof(buf) - 1 - keep)) > 0) {
		keep += (size_t)n;
		buf[keep] = '\0';
		found = strstr(buf, "/libpprofagent.so") != NULL;
		/* a name cut by the buffer's end is completed by the next read */
		if (keep > 64) {
			memmove(buf, buf + keep - 64, 64);
			keep = 64;
		}
	}
	sys_close((int)fd);
	return found;
}

static void __attribute__((constructor)) agent_construct(int argc, char **argv, char **envp)
{
	real_resolve();
	layout_start();
	options_load(envp);
	log_set_level((enum log_level)options->log);
	read_program_names(argc > 0 ? argv[0] : NULL);
	if (decide_role(argv) != PROCESS_TARGET) {
		process_set(PROCESS_OFF, NULL);
		heap_start(0, false);
		return;
	}
	vdso_start(getauxval(AT_SYSINFO_EHDR));
	budget_set((size_t)options->max_mem);
	random_set_seed((uint64_t)options->seed);
	record_set_depth((uint32_t)options->max_frames);
	fmt_buf(self.family, sizeof(self.family), "%d.%lx", sys_getpid(),
		sys_clock_ns(CLOCK_MONOTONIC));
	self.started_ns = sys_clock_ns(CLOCK_MONOTONIC);
	guard_enter();
	modules_find_own();
	signals_start(real.sigaction);
	cpu_start();
	altstack_set(options->altstack);
	threads_notify(cpu_thread_begin, end_thread, last_application_thread);
	threads_start();
	threads_main_stack((uintptr_t)argv);
	register_fork_handlers();
	heap_start((uint64_t)options->mem_profile_rate, options->labels);
	process_set(PROCESS_TARGET, start_in_child);
	heap_start((uint64_t)options->mem_profile_rate, options->labels);
	contention_start((uint64_t)options->block_profile_rate,
			 (uint64_t)options->mutex_profile_fraction, options->labels);
	real_seal();
	guard_leave();
}

/* ---- the way into main: agent/arch/<cpu>/start.S ---- */

HIDDEN main_fn *start_main;
HIDDEN __typeof__(&__libc_start_main) start_libc_main;
HIDDEN main_fn *start_replace_main(main_fn *main);
HIDDEN void start_before_main(void);
extern main_fn start_trampoline HIDDEN;

/* What libc is to call instead of main. */
main_fn *start_replace_main(main_fn *main)
{
	start_libc_main = real.__libc_start_main;
	start_main = main;
	return process_is_target() ? start_trampoline : main;
}

/* Every initialiser has run; main is next. */
void start_before_main(void)
{
	if (!guard_enter())
		return;
	start_in_parent();
	if (!options->inherit)
		inherit_strip();
	log_open_stderr(log_waiting() && !parent_has_agent());
	log_close_stderr();
	guard_leave();
}
