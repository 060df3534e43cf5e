/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/output.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/attr.h"
#include "agent/base/fmt.h"
#include "agent/base/log.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/base/tls.h"
#include "agent/collect/buckets.h"
#include "agent/collect/cpu.h"
#include "agent/collect/deaths.h"
#include "agent/collect/ending.h"
#include "agent/collect/process.h"
#include "agent/collect/signals.h"
#include "agent/collect/threads.h"
#include "agent/options.h"
#include "agent/outfile.h"
#include "agent/target.h"
#include "agent/turn.h"
#include "hooks/real.h"

enum {
	STACK = 512 << 10,     /* libiberty's demangler recurses */
	TARGET_WAIT_NS = 100000000,
	LOOK_NS = 100000000,   /* how often the agent's thread looks whether it is asked */
	FORK_EXEC_NS = 200000000, /* a forked child that execs sooner only starts another program */
};

/* ourselves: agent/arch/<cpu>/stack.S */
HIDDEN void arch_on_stack(void (*fn)(void *), void *arg, void *top);

static struct {
	bool on;
	bool sampling;		/* holds a CPU session */
	_Atomic bool done;	/* the last set is written */
	_Atomic bool ready;	/* the start is over: what it holds, nobody need wait for */
	_Atomic bool asked;	/* PPROF_DUMP_SIGNAL came */
	_Atomic bool has_agent; /* the agent's thread looks at `asked` */
	int pid;
	unsigned dumps;		/* numbered sets so far */
	uint64_t heap_before;	/* allocations sampled by forerunners of a forked child */
	uint64_t start_ns, start_real_ns;
	uint64_t every_at_ns;
	struct stat error_file; /* what descriptor 2 was at the start */
	bool has_error_file;
	int dump_signal; /* of PPROF_DUMP_SIGNAL, 0: none */
	bool takes_signal; /* the agent's thread has it unblocked */
} self;

bool output_on(void)
{
	return self.on;
}

/* ---- what is said ---- */

/* Only when asked for; and only if descriptor 2 is still what it was (hazard I2). */
static void say(const struct outfile_set *set, const struct outfile_result *result)
{
	char line[1024];
	struct stat now;
	size_t n;

	if (!options->output_progress || !self.has_error_file || sys_fstat(2, &now) != 0 ||
	    now.st_dev != self.error_file.st_dev || now.st_ino != self.error_file.st_ino)
		return;
	n = fmt_buf(line, sizeof(line), "pprofagent: %u profiles of %s written %s: %s.", result->written,
		    agent_program(), set->reason, outfile_base());
	if (set->number && n < sizeof(line))
		n += fmt_buf(line + n, sizeof(line) - n, "%u.", set->number);
	if (n < sizeof(line))
		n += fmt_buf(line + n, sizeof(line) - n, "*.pb.gz");
	if (result->failed && n < sizeof(line))
		n += fmt_buf(line + n, sizeof(line) - n, " (%u failed, error %ld)", result->failed,
			     -result->error);
	if (n + 1 >= sizeof(line))
		return;
	line[n++] = '\n';
	sys_write(2, line, n);
}

/* ---- one set ---- */

/* Short children of a build took no sample: hundreds of empty files would help nobody. What a person
 * started by hand always leaves something to look at. */
static bool worth_it(void)
{
	for (const struct bucket *b = buckets_first(SERIES_CPU); b; b = bucket_next(b))
		if (atomic_load_explicit(&b->value[0], memory_order_relaxed))
			return true;
	return stat_read(STAT_HEAP_SAMPLES) > self.heap_before || stat_read(STAT_BLOCK_EVENTS) ||
	       stat_read(STAT_LOCK_CLOSES) || (!process_generation() && !agent_parent_has());
}

static void write_set(const char *reason, unsigned number)
{
	uint64_t limit = (uint64_t)options->output_seconds * 1000000000u;
	struct outfile_set set = {
		.reason = reason,
		.number = number,
		.since_ns = self.sampling || self.start_ns ? self.start_ns : 0,
		.since_real_ns = self.start_real_ns,
		.cpu_period_ns = (int64_t)(1000000000u / (uint64_t)options->cpu_profile_rate),
		.deadline_ns = sys_clock_ns(CLOCK_MONOTONIC) + limit,
	};
	struct outfile_result result;

	outfile_write(&set, &result);
	say(&set, &result);
	/* no hook may be waited for here but by the agent's own thread */
	if (result.failed && tls.flags & TLS_AGENT)
		log_line(LOG_WARN, "%u profiles of PPROF_OUTPUT could not be written (error %ld)",
			 result.failed, -result.error);
}

/* The last set: what threads have not been charged with yet is settled first. */
static void write_last(void *reason)
{
	if (self.sampling) {
		self.sampling = false;
		cpu_release();
		if (options->labels)
			cpu_label(false);
	}
	if (worth_it())
		write_set(reason, 0);
}

static void write_before_exec(void *reason)
{
	if (worth_it())
		write_set(reason, 0);
}

static void write_asked(void *reason)
{
	write_set(reason, ++self.dumps);
}

/* ---- in a thread of the program's ---- */

/* Everything blocked but faults and the two that libc needs for itself. The sampling signal too: this may be
 * the handler of a signal, on an alternate stack; on our own stack it is not seen to be in use, and the
 * next handler would be laid over it. */
static uint64_t block_signals(void)
{
	static const int open[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, 32, 33 };
	uint64_t all = ~(uint64_t)0, before = 0;

	for (size_t i = 0; i < ARRAY_LEN(open); i++)
		all &= ~((uint64_t)1 << (open[i] - 1));
	sys_sigprocmask(SIG_SETMASK, &all, &before);
	return before;
}

/* The sampling signal first, with the guard still up, so that the time spent here is booked as ours; then the
 * others, whose handlers may not return. */
static void unblock_signals(const uint64_t *before, bool guarded)
{
	int sampling = atomic_load(&signals_held);
	uint64_t one = sampling ? (uint64_t)1 << (sampling - 1) : 0;

	one &= ~*before;
	if (one)
		sys_sigprocmask(SIG_UNBLOCK, &one, NULL);
	if (guarded)
		guard_leave();
	sys_sigprocmask(SIG_SETMASK, before, NULL);
}

/*
 * last: nothing comes after it, and who comes second finds it done. The guard may be up: a signal handler
 * ends the process, or asks, while its thread is inside one of our hooks. That is no harm: what is read
 * here never waits for a writer, and the locks that are taken here no hook ever holds.
 */
static void write_here(void (*write)(void *), const char *reason, bool last)
{
	uint64_t limit = sys_clock_ns(CLOCK_MONOTONIC) + (uint64_t)options->output_seconds * 1000000000u;
	uint64_t mask;
	bool guarded;
	char *stack;

	if (sys_getpid() != self.pid || !atomic_load(&self.ready))
		return;
	guarded = guard_enter();
	mask = block_signals();
	if (turn_take(limit)) {
		if (!atomic_load(&self.done)) {
			stack = sys_map(STACK);
			if (stack) {
				arch_on_stack(write, (void *)(uintptr_t)reason, stack + STACK);
				sys_unmap(stack, STACK);
			}
			if (last)
				atomic_store(&self.done, true);
		}
		turn_give();
	}
	unblock_signals(&mask, guarded);
}

/* With the turn: the agent's thread may be about to write the file. */
static void remove_target(bool for_good)
{
	bool mine = turn_take(sys_clock_ns(CLOCK_MONOTONIC) + TARGET_WAIT_NS);

	target_remove(for_good);
	if (mine)
		turn_give();
}

static void at_exit(void)
{
	if (sys_getpid() != self.pid || atomic_load(&self.done))
		return;
	remove_target(true);
	if (self.on)
		write_here(write_last, "at exit", true);
}

/* libc's list of exit handlers: ours is the first in it, and so the last to run. */
static void on_exit_list(void *unused)
{
	at_exit();
}

static void at_exec(void)
{
	if (sys_getpid() != self.pid ||
	    (process_generation() && sys_clock_ns(CLOCK_MONOTONIC) - self.start_ns < FORK_EXEC_NS))
		return;
	remove_target(false);
	if (self.on)
		write_here(write_before_exec, "before exec", false);
}

static void at_death(int sig)
{
	char reason[64];

	remove_target(true);
	fmt_buf(reason, sizeof(reason), "before the death by signal %d", sig);
	if (self.on)
		write_here(write_last, reason, true);
}

static void at_request(void)
{
	if (atomic_load(&self.has_agent))
		atomic_store(&self.asked, true);
	else
		write_here(write_asked, "at PPROF_DUMP_SIGNAL", false);
}

/* ---- in the agent's thread ---- */

/* In the main thread; what a program blocks there is for its own sigwait or signalfd. */
static bool main_blocks(int sig)
{
	char text[4096];
	long n = sys_read_file("/proc/self/status", text, sizeof(text) - 1);
	const char *at;
	uint64_t mask = 0;

	text[n > 0 ? n : 0] = '\0';
	at = strstr(text, "SigBlk:\t");
	if (!at)
		return true;
	for (at += 8; (*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'f'); at++)
		mask = mask << 4 | (uint64_t)(*at <= '9' ? *at - '0' : *at - 'a' + 10);
	return mask >> (sig - 1) & 1;
}

/* A signal that is sent to this thread by its own number is handled in it, and interrupts nobody's call. The
 * program's own handler must not run here. */
static void take_signal(void)
{
	uint64_t one = (uint64_t)1 << (self.dump_signal - 1);
	bool takes = deaths_has(self.dump_signal) && !main_blocks(self.dump_signal);

	if (takes != self.takes_signal)
		sys_sigprocmask(takes ? SIG_UNBLOCK : SIG_BLOCK, &one, NULL);
	self.takes_signal = takes;
}

uint64_t output_tick(uint64_t now_ns)
{
	uint64_t every = (uint64_t)options->output_every * 1000000000u, next = UINT64_MAX;

	if (!self.on || atomic_load(&self.done))
		return UINT64_MAX;
	if (self.dump_signal) {
		atomic_store(&self.has_agent, true);
		take_signal();
		if (atomic_exchange(&self.asked, false))
			write_asked("at PPROF_DUMP_SIGNAL");
		next = now_ns + LOOK_NS;
	}
	if (every) {
		if (!self.every_at_ns)
			self.every_at_ns = self.start_ns + every;
		if (now_ns >= self.every_at_ns) {
			write_set("while it runs", 0);
			self.every_at_ns = sys_clock_ns(CLOCK_MONOTONIC) + every;
		}
		if (self.every_at_ns < next)
			next = self.every_at_ns;
	}
	return next;
}

void output_at_last(void)
{
	target_remove(true);
	if (self.on && !atomic_exchange(&self.done, true))
		write_last((void *)(uintptr_t)"at exit");
}

/* ---- start ---- */

static void begin_sampling(bool alone)
{
	int err = alone ? cpu_acquire_alone((unsigned)options->cpu_profile_rate)
			: cpu_acquire((unsigned)options->cpu_profile_rate);

	self.start_ns = sys_clock_ns(CLOCK_MONOTONIC);
	self.start_real_ns = sys_clock_ns(CLOCK_REALTIME);
	self.sampling = err == 0;
	if (err)
		log_line(LOG_WARN, "PPROF_OUTPUT: no CPU profile, because the program uses SIGPROF and "
				   "every real-time signal");
	else if (options->labels)
		cpu_label(true);
}

static const struct {
	char name[8]; /* no pointers: nothing to relocate at start */
	int number;
} signal_names[] = {
	{ "HUP", SIGHUP },     { "INT", SIGINT },   { "QUIT", SIGQUIT }, { "USR1", SIGUSR1 },
	{ "USR2", SIGUSR2 },   { "ALRM", SIGALRM }, { "TERM", SIGTERM }, { "WINCH", SIGWINCH },
	{ "URG", SIGURG },     { "IO", SIGIO },     { "PWR", SIGPWR },	 { "VTALRM", SIGVTALRM },
};

/* "USR1", "SIGUSR1", "10", "RTMIN+3"; 0: none of these. */
static int parse_signal(const char *text)
{
	int n = 0, base = 0;

	if (!strncmp(text, "SIG", 3))
		text += 3;
	for (size_t i = 0; i < ARRAY_LEN(signal_names); i++)
		if (!strcmp(signal_names[i].name, text))
			return signal_names[i].number;
	if (!strncmp(text, "RTMIN", 5)) {
		base = 34;
		text += 5;
		if (!*text)
			return base;
		if (*text++ != '+')
			return 0;
	}
	for (; *text >= '0' && *text <= '9' && n < 100; text++)
		n = n * 10 + (*text - '0');
	n += base;
	if (*text || (base && n > 64))
		return 0;
	if (n >= 34 && n <= 64)
		return n;
	for (size_t i = 0; i < ARRAY_LEN(signal_names); i++)
		if (signal_names[i].number == n)
			return n;
	return 0;
}

static void watch_signals(void)
{
	static const int fatal[] = { SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGALRM, SIGTERM };
	int asked = options->dump_signal ? parse_signal(options->dump_signal) : 0;

	deaths_start(real.sigaction, at_death, at_request);
	if (options->dump_signal && !asked)
		log_line(LOG_WARN,
			 "PPROF_DUMP_SIGNAL=%s is none of HUP, INT, QUIT, USR1, USR2, ALRM, TERM, WINCH, "
			 "URG, IO, PWR, VTALRM, RTMIN+n or their numbers; ignored",
			 options->dump_signal);
	if (asked && self.on)
		self.dump_signal = asked;
	if (asked && self.on && !deaths_watch(asked, false))
		log_line(LOG_WARN, "PPROF_DUMP_SIGNAL=%s: the program has a use of its own for that signal",
			 options->dump_signal);
	for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
		if (fatal[i] != asked)
			deaths_watch(fatal[i], true);
}

/* musl's and glibc's atexit end in this */
extern int __cxa_atexit(void (*fn)(void *), void *arg, void *dso);

void output_start(void)
{
	int err;

	self.pid = sys_getpid();
	if (options->output) {
		err = outfile_start(options->output);
		if (err)
			log_line(LOG_ERROR,
				 "PPROF_OUTPUT=%s is no directory that can be written to (error %d); no "
				 "profiles will be written",
				 options->output, -err);
		self.on = !err;
	}
	if (options->output_progress)
		self.has_error_file = sys_fstat(2, &self.error_file) == 0;
	if (self.on)
		begin_sampling(false);
	ending_notify(at_exit, at_exec);
	__cxa_atexit(on_exit_list, NULL, NULL);
	watch_signals();
}

void output_started(void)
{
	atomic_store(&self.ready, true);
}

void output_child(void)
{
	self.pid = sys_getpid();
	self.sampling = false;
	self.dumps = 0;
	self.every_at_ns = 0;
	self.heap_before = stat_read(STAT_HEAP_SAMPLES);
	atomic_store(&self.done, false);
	atomic_store(&self.asked, false);
	atomic_store(&self.has_agent, false);
	self.takes_signal = false;
	deaths_child();
	outfile_child();
	target_child();
	if (self.on)
		begin_sampling(true);
}
