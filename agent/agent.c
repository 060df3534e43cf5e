/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of the agent in a process: constructor, start before main, fork.
 *
 * Design: the constructor only makes the hooks usable and reads the settings from its third argument,
 * because libc's own initialiser has not run and `environ` is empty (a dlopen at that moment can wipe
 * the program's environment). The listener (agent/listen.c) is opened when all initialisers have run,
 * just before main.
 *
 * There is no destructor and no atexit handler: hooks run until the last instruction (hazard I1).
 */
#include "agent/agent.h"

#include <limits.h>
#include <pthread.h>
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
#include "agent/collect/contention.h"
#include "agent/collect/cpu.h"
#include "agent/collect/heap.h"
#include "agent/collect/labels.h"
#include "agent/collect/modules.h"
#include "agent/collect/process.h"
#include "agent/collect/record.h"
#include "agent/collect/signals.h"
#include "agent/collect/threads.h"
#include "agent/collect/tracebuf.h"
#include "agent/collect/unwind.h"
#include "agent/collect/unwind_remote.h"
#include "agent/inherit.h"
#include "agent/launchers.h"
#include "agent/listen.h"
#include "agent/options.h"
#include "agent/output.h"
#include "agent/profiles.h"
#include "agent/target.h"
#include "agent/thread.h"
#include "agent/turn.h"
#include "hooks/layout.h"
#include "hooks/real.h"

static struct {
	char program[NAME_MAX + 1]; /* file name of the executable */
	char called[NAME_MAX + 1];  /* file name in argv[0]: symbolic links keep their name here */
	char family[40];
	uint64_t started_ns; /* CLOCK_MONOTONIC, in this process */
	bool launcher;	     /* it only starts others: it is looked at for PPROF_OUTPUT alone */
} self;

const char *agent_program(void)
{
	return self.called[0] ? self.called : self.program;
}

const char *agent_family(void)
{
	return self.family;
}

bool agent_is_launcher(void)
{
	return self.launcher;
}

uint64_t agent_started_ns(void)
{
	return self.started_ns;
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
	if (real_is_second_copy())
		return PROCESS_OFF;
	if (options->exe)
		return launchers_match(options->exe, self.program) ||
				       launchers_match(options->exe, self.called)
			       ? PROCESS_TARGET
			       : PROCESS_OFF;
	self.launcher = launchers_is_one(self.program, argv);
	return self.launcher && !options->output ? PROCESS_OFF : PROCESS_TARGET;
}

static void begin_thread(struct thread *thread)
{
	tracebuf_thread_begin(thread);
	cpu_thread_begin(thread);
}

static void end_thread(struct thread *thread)
{
	cpu_thread_end(thread);
	contention_thread_end(thread);
	tracebuf_thread_end(thread);
}

static void last_application_thread(bool alone)
{
	if (alone)
		exit(0); /* as libc does when its last thread ends */
	agent_thread_after_last();
}

/* Order of resetting in a forked child: first what others build on. */
static const struct {
	const char *name;
	void (*child)(void);
} modules[] = {
	{ "log", log_child },	      { "mem", mem_child },	    { "stats", stats_child },
	{ "random", random_child },   { "threads", threads_child }, { "trace", tracebuf_child },
	{ "cpu", cpu_child },
	{ "heap", heap_child },	      { "contention", contention_child },
	{ "record", record_child },   { "modules", modules_child }, { "unwind", unwind_child }, { "unwind_remote", unwind_remote_child }, { "profiles", profiles_child },
	{ "turn", turn_child },	      { "listen", listen_child },   { "thread", agent_thread_child },
	{ "process", process_child }, { "output", output_child },
};

/* The sampling signal interrupts the kernel's copying of a large process for ever (hazard D3). */
static void before_fork(void)
{
	int sig = atomic_load(&signals_held);
	uint64_t set = sig ? (uint64_t)1 << (sig - 1) : 0, before = 0;

	process_before_fork();
	agent_thread_before_fork();
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
	agent_thread_after_fork();
	unblock_signal();
	process_forked();
	stat_add(STAT_FORKS, 1);
}

static void in_child(void)
{
	bool guarded = guard_enter();

	self.started_ns = sys_clock_ns(CLOCK_MONOTONIC);
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

/* A parent that carries it has said already what there is to say. */
bool agent_parent_has(void)
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

/* Programs of another libc inherit the preload too. Their constructors get no arguments. */
extern const char *gnu_get_libc_version(void) __attribute__((weak));

static void stay_out(void)
{
	process_set(PROCESS_OFF, NULL);
	heap_start(0, false);
	real_seal();
}

static void __attribute__((constructor)) agent_construct(int argc, char **argv, char **envp)
{
	real_resolve();
	if (!gnu_get_libc_version) {
		stay_out();
		return;
	}
	options_load(envp);
	log_set_level((enum log_level)options->log);
	if (getauxval(AT_SECURE)) {
		stay_out();
		return;
	}
	read_program_names(argc > 0 ? argv[0] : NULL);
	/* in this order: a sandbox may kill whoever asks for a socket, and PPROF_EXE is the way to keep us out of it */
	if (decide_role(argv) != PROCESS_TARGET || listen_is_in_vain()) {
		stay_out();
		return;
	}
	layout_start();
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
	threads_notify(begin_thread, end_thread, last_application_thread);
	threads_start();
	threads_main_stack((uintptr_t)argv);
	register_fork_handlers();
	process_set(PROCESS_TARGET, listen_in_child);
	labels_set(options->labels != 0);
	heap_start((uint64_t)options->mem_profile_rate, options->labels);
	real_find_rival();
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
	/* what is not wanted touches no page: short programs pay for each */
	bool wants_end = options->output || options->sd_dir;

	if (!guard_enter())
		return;
	if (wants_end)
		output_start();
	target_start();
	listen_before_main();
	if (!options->inherit)
		inherit_strip();
	log_open_stderr(log_waiting() && !agent_parent_has());
	log_close_stderr();
	if (wants_end)
		output_started();
	guard_leave();
}
