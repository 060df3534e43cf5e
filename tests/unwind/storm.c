/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stack walks where they hurt: in signal handlers, at 4,000 a second of CPU time in each thread,
 * and in an allocator-like hook, while other threads load and unload libraries, hold the loader's
 * lock in slow and allocating callbacks, throw exceptions, come and go, and fork. A watchdog wants
 * progress from every worker. Two libraries take turns at one address; no walk may take one for the
 * other. usage: storm SECONDS [KIND...]   kinds: dl iterate throw threads fork
 */
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/collect/modules.h"
#include "agent/collect/unwind.h"

unsigned long throw_some(unsigned long n);

enum { HZ = 4000, MAX = 128, STUCK_S = 20, CUTS = 8 };

static struct {
	_Atomic uint64_t samples, complete, hooks, hooks_complete, swaps, same_place, forks,
		threads;
	_Atomic uint64_t ends[UNWIND_ENDS];
	_Atomic bool stop;
	/*
	 * At the end of a throw libgcc stores the registers of the function that catches in its own
	 * frame, over those of the function that throws, whose return address is still there
	 * (uw_install_context, then the epilogue of _Unwind_Resume and its like). From there to the
	 * jump the tables lead to the throwing function with another one's base pointer. Only walks that
	 * begin in libgcc may end early.
	 */
	uintptr_t gcc_lo, gcc_hi;
	_Atomic uint64_t in_throw;
	_Atomic uint64_t cuts;
	uintptr_t cut_at[CUTS], cut_from[CUTS]; /* where incomplete walks ended, and began */
	char swap_a[4096], swap_b[4096];
} self;

struct worker {
	const char *name;
	void (*once)(struct worker *);
	_Atomic uint64_t progress;
	pthread_t thread;
};

static __thread uintptr_t stack_lo, stack_hi;
static __thread timer_t timer;

static void fail(const char *what, const char *who)
{
	printf("storm: %s: %s\n", who, what);
	fflush(stdout);
	_exit(1);
}

static void on_sample(int sig, siginfo_t *info, void *context)
{
	uintptr_t pcs[MAX];
	enum unwind_end end;
	uint32_t n;

	n = unwind_context(context, stack_lo, stack_hi, pcs, MAX, &end);
	atomic_fetch_add(&self.samples, 1);
	atomic_fetch_add(&self.ends[end], 1);
	if (end == UNWIND_ROOT || end == UNWIND_TRUNCATED)
		atomic_fetch_add(&self.complete, 1);
	else if (n && pcs[0] >= self.gcc_lo && pcs[0] < self.gcc_hi)
		atomic_fetch_add(&self.in_throw, 1);
	else if (n) {
		uint64_t i = atomic_fetch_add(&self.cuts, 1) % CUTS;

		self.cut_at[i] = pcs[n - 1];
		self.cut_from[i] = pcs[0];
	}
}

/* What a sampled malloc does. */
static __attribute__((noinline)) void *hooked_malloc(size_t size)
{
	uintptr_t pcs[MAX];
	enum unwind_end end;
	void *p = malloc(size);

	unwind_here(stack_lo, stack_hi, pcs, MAX, &end);
	atomic_fetch_add(&self.hooks, 1);
	if (end == UNWIND_ROOT || end == UNWIND_TRUNCATED)
		atomic_fetch_add(&self.hooks_complete, 1);
	return p;
}

static void sample_me(void)
{
	struct itimerspec every = {{0, 1000000000 / HZ}, {0, 1000000000 / HZ}};
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
	pthread_attr_t attr;
	void *lo;
	size_t size;

	event._sigev_un._tid = (int)syscall(SYS_gettid);
	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstack(&attr, &lo, &size);
	pthread_attr_destroy(&attr);
	stack_lo = (uintptr_t)lo;
	stack_hi = stack_lo + size;
	if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) != 0 ||
	    timer_settime(timer, 0, &every, NULL) != 0)
		fail("no timer", "setup");
}

/* ---- the workers */

static int wrapped_dlclose(void *handle)
{
	struct modules_watch watch;
	int err;

	modules_before_close(&watch);
	unwind_before_close();
	err = dlclose(handle);
	modules_after_close(&watch);
	unwind_after_close();
	return err;
}

/* Called from within a swapped library: every frame up to the thread's root must be there. */
struct in_library {
	uintptr_t start, end;
	struct worker *worker;
};

static int check_inside(void *arg)
{
	const struct in_library *in = arg;
	uintptr_t pcs[MAX];
	enum unwind_end end;
	uint32_t n = unwind_here(stack_lo, stack_hi, pcs, MAX, &end), inside = 0;

	for (uint32_t i = 0; i < n; i++)
		inside += pcs[i] >= in->start && pcs[i] < in->end;
	if (end != UNWIND_ROOT || inside != 2)
		fail("a walk through a swapped library is wrong", unwind_end_name(end));
	for (volatile int i = 0; i < 20000; i++)
		;
	return (int)n;
}

static void once_dl(struct worker *w)
{
	static _Atomic uintptr_t last;

	for (int i = 0; i < 2; i++) {
		void *handle = dlopen(i ? self.swap_b : self.swap_a, RTLD_NOW | RTLD_LOCAL);
		int (*call)(int (*)(void *), void *) =
			handle ? (int (*)(int (*)(void *), void *))dlsym(handle, "swap_call")
			       : NULL;
		struct in_library in = {.worker = w};

		if (!call)
			fail(dlerror(), "dlopen");
		in.start = (uintptr_t)call & ~(uintptr_t)4095;
		in.end = in.start + 4096;
		call(check_inside, &in);
		atomic_fetch_add(&self.swaps, 1);
		if (atomic_exchange(&last, (uintptr_t)call) == (uintptr_t)call)
			atomic_fetch_add(&self.same_place, 1);
		wrapped_dlclose(handle);
	}
}

static int slow_callback(struct dl_phdr_info *info, size_t size, void *arg)
{
	for (volatile int i = 0; i < 3000; i++)
		;
	return 0;
}

static int allocating_callback(struct dl_phdr_info *info, size_t size, void *arg)
{
	for (size_t i = 1; i < 20; i++)
		free(hooked_malloc(i * 1000));
	return 0;
}

static void once_iterate(struct worker *w)
{
	dl_iterate_phdr(slow_callback, NULL);
	dl_iterate_phdr(allocating_callback, NULL);
}

static void once_throw(struct worker *w)
{
	throw_some(50);
	free(hooked_malloc(100));
}

static void *short_life(void *arg)
{
	sample_me();
	for (size_t i = 1; i < 200; i++)
		free(hooked_malloc(i * 64));
	timer_delete(timer);
	return NULL;
}

static void once_threads(struct worker *w)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		if (pthread_create(&t[i], NULL, short_life, NULL) != 0)
			fail("no thread", "pthread_create");
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	atomic_fetch_add(&self.threads, 4);
}

static void once_fork(struct worker *w)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		fail("no child", "fork");
	if (pid == 0) {
		unwind_child();
		modules_child();
		alarm(STUCK_S);
		for (size_t i = 1; i < 20; i++)
			free(hooked_malloc(i * 64));
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		fail("a child did not end well", "fork");
	atomic_fetch_add(&self.forks, 1);
}

static int find_gcc(struct dl_phdr_info *info, size_t size, void *arg)
{
	if (!strstr(info->dlpi_name, "libgcc_s"))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type == PT_LOAD && p->p_flags & PF_X) {
			self.gcc_lo = info->dlpi_addr + p->p_vaddr;
			self.gcc_hi = self.gcc_lo + p->p_memsz;
		}
	}
	return 0;
}

static struct worker workers[] = {
	{.name = "dl", .once = once_dl},       {.name = "iterate", .once = once_iterate},
	{.name = "throw", .once = once_throw}, {.name = "threads", .once = once_threads},
	{.name = "fork", .once = once_fork},
};
enum { WORKERS = sizeof(workers) / sizeof(workers[0]) };

static void *work(void *arg)
{
	struct worker *w = arg;

	sample_me();
	while (!atomic_load(&self.stop)) {
		w->once(w);
		atomic_fetch_add(&w->progress, 1);
	}
	timer_delete(timer);
	return NULL;
}

static bool wanted(const struct worker *w, int argc, char **argv)
{
	for (int i = 2; i < argc; i++)
		if (!strcmp(w->name, argv[i]))
			return true;
	return argc <= 2;
}

static void watch(int seconds, bool *const on)
{
	uint64_t last[WORKERS] = {0};
	int stuck[WORKERS] = {0};

	while (seconds--) {
		sleep(1);
		for (int i = 0; i < WORKERS; i++) {
			uint64_t now = atomic_load(&workers[i].progress);

			stuck[i] = now == last[i] ? stuck[i] + 1 : 0;
			last[i] = now;
			if (on[i] && stuck[i] >= STUCK_S)
				fail("no progress", workers[i].name);
		}
	}
}

static void show(const char *what, uintptr_t at)
{
	Dl_info info;

	if (dladdr((void *)at, &info))
		printf("storm: %s %s+%#lx (%s)\n", what, info.dli_fname, at - (uintptr_t)info.dli_fbase,
		       info.dli_sname ? info.dli_sname : "?");
	else
		printf("storm: %s %#lx\n", what, at);
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_sigaction = on_sample, .sa_flags = SA_SIGINFO | SA_RESTART};
	int seconds = argc > 1 ? atoi(argv[1]) : 5;
	char *slash = strrchr(argv[0], '/');
	int dir = slash ? (int)(slash - argv[0]) : 0;
	bool on[WORKERS];
	double share, share_hooks;

	snprintf(self.swap_a, sizeof(self.swap_a), "%.*s/swap_a.so", dir, argv[0]);
	snprintf(self.swap_b, sizeof(self.swap_b), "%.*s/swap_b.so", dir, argv[0]);
	dl_iterate_phdr(find_gcc, NULL);
	unwind_start();
	sigaction(SIGPROF, &sa, NULL);
	for (int i = 0; i < WORKERS; i++) {
		on[i] = wanted(&workers[i], argc, argv);
		if (on[i])
			pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
	watch(seconds, on);
	atomic_store(&self.stop, true);
	alarm(STUCK_S);
	for (int i = 0; i < WORKERS; i++)
		if (on[i])
			pthread_join(workers[i].thread, NULL);
	share = self.samples ? 100.0 * (double)self.complete / (double)self.samples : 0;
	share_hooks = self.hooks ? 100.0 * (double)self.hooks_complete / (double)self.hooks : 100;
	printf("storm: %lu samples, %.3f %% complete; %lu walks in hooks, %.3f %% complete; %lu "
	       "libraries "
	       "(%lu where the other was), %lu threads, %lu forks\n",
	       self.samples, share, self.hooks, share_hooks, self.swaps, self.same_place,
	       self.threads, self.forks);
	for (int e = 0; e < UNWIND_ENDS; e++)
		if (self.ends[e])
			printf("storm: %s %lu\n", unwind_end_name((enum unwind_end)e),
			       self.ends[e]);
	for (uint64_t i = 0; i < self.cuts && i < CUTS; i++) {
		show("cut at", self.cut_at[i]);
		show("  from", self.cut_from[i]);
	}
	if (on[0] && self.same_place == 0)
		fail("the libraries never shared an address", "dl");
	/* The kernel's tick limits CPU timers to 100 or 250 a second of CPU time, on a quiet
	 * machine. */
	if (clock() / CLOCKS_PER_SEC > (clock_t)self.samples / 50)
		fail("too few for the CPU time used", "samples");
	if (self.in_throw)
		printf("storm: %lu at the end of a throw\n", self.in_throw);
	if (self.in_throw > self.samples / 200 + 5)
		fail("too many are cut at the end of a throw", "throw");
	if (self.samples - self.complete - self.in_throw > self.samples / 500 + 1 ||
	    self.hooks - self.hooks_complete > self.hooks / 10000)
		fail("too few are complete", "samples");
	return 0;
}
