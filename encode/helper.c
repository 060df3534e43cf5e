/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/helper.h"

#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/base/fmt.h"
#include "agent/base/log.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/modules.h"
#include "clone.h"
#include "encode/maps.h"

enum {
	STACK = 32 << 10,
	READY_NS = 1000000000,	 /* at most, for the keeper to give back its copy of our descriptors */
	IDLE_S = 30,		 /* unused for so long, it is ended */
	REAP_NS = 20000000,	 /* between two looks at a keeper that should end */
	AGAIN_S = 5,		 /* after a start that failed */
	BORN_DEAD_MAX = 2,	 /* deaths without a word, before we believe that it cannot live */
	DEATH_SIGNAL = 1 /* PR_SET_PDEATHSIG */,
	SET_NAME = 15 /* PR_SET_NAME */,
};

/* Memory that the keeper and we have in common, and the stacks of the two. */
struct keeper {
	_Atomic uint32_t ready; /* futex: our descriptors are closed there */
	_Atomic int child;	/* the symbolizer, while it can be killed by its number */
	_Atomic int err;	/* why it could not be executed */
	_Atomic int status;	/* as wait() gives it */
	int parent, in, out;
	char path[PATH_MAX];
	_Alignas(16) char stack[STACK];
	_Alignas(16) char child_stack[STACK];
};

static struct {
	struct keeper *keeper; /* NULL: none */
	int pid;	       /* of the keeper */
	int to, from;	       /* pipes; -1: closed */
	bool ending;	       /* only waiting for the keeper's end */
	bool spoke;	       /* something came from it */
	unsigned born_dead, number;
	int filters; /* system call filters at start; -1: not looked at */
	uint64_t used_ns, again_ns;
	char why[256];
} self = { .to = -1, .from = -1, .filters = -1 };

const char *helper_why(void)
{
	return self.why;
}

void helper_describe(char *buf, size_t size)
{
	int child = self.keeper && !self.ending ? atomic_load(&self.keeper->child) : 0;

	if (child)
		fmt_buf(buf, size, "pid %d", child);
	else if (sys_clock_ns(CLOCK_MONOTONIC) < self.again_ns)
		fmt_buf(buf, size, "not running: %s", self.why);
	else
		fmt_buf(buf, size, "not running");
}

unsigned helper_number(void)
{
	return self.number;
}

int helper_fd(void)
{
	return self.from;
}

/* Number of filters in force for this thread; kernels before 5.9 tell only whether there is one. */
static int count_filters(void)
{
	char buf[4096];
	long n = sys_read_file("/proc/thread-self/status", buf, sizeof(buf) - 1);
	const char *at;
	int filters = 0;

	if (n <= 0)
		return 0;
	buf[n] = '\0';
	at = strstr(buf, "Seccomp_filters:\t");
	at = at ? at + 17 : strstr(buf, "Seccomp:\t");
	if (at && *at == 'S')
		at += 9;
	for (; at && *at >= '0' && *at <= '9'; at++)
		filters = filters * 10 + (*at - '0');
	return filters;
}

void helper_begin(void)
{
	if (self.filters < 0)
		self.filters = count_filters();
}

/* ---- in the keeper and its child: nothing but system calls ---- */

static void __attribute__((noreturn)) leave(int status)
{
	for (;;)
		SYS1(SYS_exit_group, status);
}

static void close_from(unsigned first)
{
	if (sys_close_range(first, UINT_MAX, 0) != 0)
		for (unsigned fd = first; fd < 4096; fd++)
			sys_close((int)fd);
}

static void run_child(void *arg)
{
	struct keeper *k = arg;
	char *argv[] = { k->path, NULL }, *envp[] = { NULL };

	sys_prctl(DEATH_SIGNAL, SIGKILL, 0);
	atomic_store(&k->err, (int)-sys_execve(k->path, argv, envp));
	leave(127);
}

static void run_keeper(void *arg)
{
	static const char name[] = "pprof-keeper";
	struct keeper *k = arg;
	long child, r;
	int status = 0;

	sys_prctl(DEATH_SIGNAL, SIGKILL, 0);
	sys_prctl(SET_NAME, (unsigned long)name, 0);
	/* the ends of the pipes are above 2: the agent's thread has something harmless there */
	sys_dup3(k->in, 0, 0);
	sys_dup3(k->out, 1, 0);
	close_from(3);
	atomic_store(&k->ready, 1);
	sys_futex_wake((const void *)&k->ready, 1);
	if (sys_getppid() != k->parent)
		leave(0);
	/* as vfork: it runs before we go on, on a stack of its own */
	child = arch_clone(CLONE_VM | CLONE_VFORK | SIGCHLD, k->child_stack + STACK, run_child, k);
	close_from(0);
	if (child < 0) {
		atomic_store(&k->err, (int)-child);
		leave(0);
	}
	atomic_store(&k->child, (int)child);
	do
		r = SYS5(SYS_waitid, P_PID, child, NULL, WEXITED | WNOWAIT, NULL);
	while (r == -EINTR);
	atomic_store(&k->child, 0);
	if (sys_wait4((int)child, &status, 0) == child)
		atomic_store(&k->status, status);
	leave(0);
}

/* ---- in the agent ---- */

static bool is_file(const char *path)
{
	struct stat st;

	return sys_stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* It ends programs that make a process as we do. What it runs has libraries of its own. */
static bool is_valgrind(const struct maps *maps)
{
	for (size_t i = 0; i < maps->n; i++)
		if (strstr(maps->list[i].path, "/vgpreload_"))
			return true;
	return false;
}

/* Beside this library, or where `make install` puts it. */
static bool find_program(char *out, size_t size, bool *out_valgrind)
{
	static const char *const places[] = { "", "/../libexec", "/../../libexec" };
	const struct map *map;
	struct maps maps = { 0 };
	bool found = false;
	const char *slash;

	*out_valgrind = false;
	if (maps_read(&maps) == 0 && !(*out_valgrind = is_valgrind(&maps)) && (map = maps_find(&maps, modules_own_start)) &&
	    (slash = strrchr(map->path, '/')))
		for (unsigned i = 0; !found && i < sizeof(places) / sizeof(places[0]); i++) {
			fmt_buf(out, size, "%.*s%s/pprofagent-symbolize", (int)(slash - map->path),
				map->path, places[i]);
			found = is_file(out);
		}
	maps_free(&maps);
	return found;
}

static enum helper_state refuse(const char *why, long err)
{
	if (err)
		fmt_buf(self.why, sizeof(self.why), "%s (error %ld)", why, err);
	else
		fmt_buf(self.why, sizeof(self.why), "%s", why);
	self.again_ns = sys_clock_ns(CLOCK_MONOTONIC) + (uint64_t)AGAIN_S * 1000000000u;
	stat_add(STAT_HELPER_FAIL, 1);
	log_line(LOG_WARN, "no files, lines and inlined functions in profiles: %s", self.why);
	return HELPER_NONE;
}

static void close_pipes(void)
{
	if (self.to >= 0)
		sys_close(self.to);
	if (self.from >= 0)
		sys_close(self.from);
	self.to = self.from = -1;
}

/* The ends that are ours, then those for the other side; -errno. */
static long make_pipes(int fds[4])
{
	int a[2], b[2];
	long r = sys_pipe(a, O_CLOEXEC | O_NONBLOCK);

	if (r < 0)
		return r;
	r = sys_pipe(b, O_CLOEXEC | O_NONBLOCK);
	if (r < 0) {
		sys_close(a[0]);
		sys_close(a[1]);
		return r;
	}
	fds[0] = a[1];
	fds[1] = b[0];
	fds[2] = a[0];
	fds[3] = b[1];
	/* the other side reads and writes as programs do: these ends block */
	sys_fcntl(fds[2], F_SETFL, O_RDONLY);
	sys_fcntl(fds[3], F_SETFL, O_WRONLY);
	return 0;
}

/* Until the keeper has closed its copies, a client whose connection we close would not see it. */
static void await_ready(struct keeper *k)
{
	struct timespec step = { 0, READY_NS / 20 };

	for (unsigned i = 0; i < 20 && !atomic_load(&k->ready); i++)
		sys_futex_wait((const void *)&k->ready, 0, &step);
}

static enum helper_state start(struct keeper *k)
{
	uint64_t all = ~(uint64_t)0, before;
	int fds[4];
	long pid, err = make_pipes(fds);

	if (err)
		return refuse("no pipe could be made: raise RLIMIT_NOFILE", -err);
	k->in = fds[2];
	k->out = fds[3];
	k->parent = sys_getpid();
	/* a handler of the program's must not run in it */
	sys_sigprocmask(SIG_SETMASK, &all, &before);
	pid = arch_clone(CLONE_VM, k->stack + STACK, run_keeper, k);
	sys_sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid > 0)
		await_ready(k);
	sys_close(fds[2]);
	sys_close(fds[3]);
	self.to = fds[0];
	self.from = fds[1];
	if (pid < 0) {
		close_pipes();
		return refuse("the kernel refused a process: raise RLIMIT_NPROC or the limit of the "
			      "container", -pid);
	}
	self.keeper = k;
	self.pid = (int)pid;
	self.ending = self.spoke = false;
	self.number++;
	self.used_ns = sys_clock_ns(CLOCK_MONOTONIC);
	stat_add(STAT_HELPER_STARTS, 1);
	return HELPER_READY;
}

/* What there is to say of one that has ended. */
static void say_end(const struct keeper *k)
{
	int status = atomic_load(&k->status);

	if (WIFSIGNALED(status))
		log_line(LOG_INFO, "pprofagent-symbolize was ended by signal %d", WTERMSIG(status));
	else if (WIFEXITED(status) && WEXITSTATUS(status) && !atomic_load(&k->err))
		log_line(LOG_INFO, "pprofagent-symbolize ended with status %d", WEXITSTATUS(status));
}

/* true: nothing is left of it. */
static bool reap(void)
{
	long r;

	if (!self.keeper)
		return true;
	r = sys_wait4(self.pid, NULL, WNOHANG | __WCLONE);
	if (r != self.pid && r != -ECHILD) /* ECHILD: a __WALL of the program's was faster */
		return false;
	say_end(self.keeper);
	sys_unmap(self.keeper, sizeof(*self.keeper));
	self.keeper = NULL;
	return true;
}

enum helper_state helper_start(void)
{
	uint64_t now = sys_clock_ns(CLOCK_MONOTONIC);
	enum helper_state state;
	struct keeper *k;
	bool valgrind;

	if (self.keeper && !self.ending) {
		self.used_ns = now;
		return HELPER_READY;
	}
	if (now < self.again_ns)
		return HELPER_NONE;
	if (!reap())
		return HELPER_WAIT;
	if (self.filters < 0 || count_filters() > self.filters)
		return refuse("the program has locked itself in (seccomp) since it started", 0);
	k = sys_map(sizeof(*k));
	if (!k)
		return refuse("no memory for its keeper", ENOMEM);
	if (!find_program(k->path, sizeof(k->path), &valgrind))
		state = valgrind ? refuse("valgrind knows no processes that share memory; run without it", 0) :
				   refuse("pprofagent-symbolize is neither beside libpprofagent.so nor in ../libexec: "
					  "install it there", 0);
	else
		state = start(k);
	if (state != HELPER_READY)
		sys_unmap(k, sizeof(*k));
	return state;
}

long helper_send(const void *data, size_t size)
{
	long n = sys_write(self.to, data, size);

	return n == -EAGAIN || n == -EINTR ? 0 : n;
}

long helper_receive(void *buf, size_t size)
{
	long n = sys_read(self.from, buf, size);

	if (n > 0) {
		self.spoke = true;
		self.born_dead = 0;
		self.used_ns = sys_clock_ns(CLOCK_MONOTONIC);
	}
	return n == -EAGAIN || n == -EINTR ? 0 : n == 0 ? -EPIPE : n;
}

void helper_stop(bool failed)
{
	struct keeper *k = self.keeper;
	int child;

	if (!k || self.ending)
		return;
	self.ending = true;
	close_pipes();
	child = atomic_load(&k->child);
	if (failed && child)
		sys_kill(child, SIGKILL);
	if (atomic_load(&k->err))
		refuse("pprofagent-symbolize could not be executed", atomic_load(&k->err));
	else if (failed && !self.spoke && ++self.born_dead >= BORN_DEAD_MAX)
		refuse("pprofagent-symbolize dies as soon as it is started (a sandbox or a limit?)", 0);
	else if (failed)
		stat_add(STAT_HELPER_DIED, 1);
}

uint64_t helper_tend(uint64_t now)
{
	const uint64_t idle = (uint64_t)IDLE_S * 1000000000u;

	if (!self.keeper)
		return UINT64_MAX;
	if (!self.ending && now >= self.used_ns + idle)
		helper_stop(false);
	if (!self.ending)
		return self.used_ns + idle;
	return reap() ? UINT64_MAX : now + REAP_NS;
}

void helper_child(void)
{
	self.keeper = NULL;
	self.to = self.from = -1;
	self.ending = self.spoke = false;
	self.born_dead = 0;
	self.again_ns = 0;
}
