/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: the thread makes its descriptor table private, with what the listener handed to it before main;
 * that is closed in the program's table: the program's first open is 3 and its close loops do nothing
 * to us (hazard D1).
 */
#include "agent/thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/spin.h"
#include "agent/base/sys.h"
#include "agent/base/tls.h"
#include "agent/collect/census.h"
#include "agent/collect/cpu.h"
#include "agent/collect/unwind_remote.h"
#include "agent/http/server.h"
#include "agent/isolate.h"
#include "agent/listen.h"
#include "agent/output.h"
#include "agent/target.h"
#include "agent/turn.h"
#include "encode/helper.h"
#include "hooks/real.h"

enum {
	THREAD_STACK = 1 << 20, /* libiberty's demangler recurses; only what is touched is real */
	TEND_NS = 1000000000,
	LOOK_NS = 20000000,
};

/* Nobody can wake it: so often it looks whether it must end. */
static const uint64_t most_rest_ns = 5000000000;

enum { WAITED_FOR, TAKEN, REFUSED };

static struct {
	int fds[4]; /* handed to it */
	unsigned n;
	_Atomic uint32_t handed; /* futex: what became of them */
	_Atomic int tid;
	_Atomic bool watcher;	 /* watch_the_rest runs */
	struct spin setting_up;	 /* held by the agent's thread while it sets up libunwind, and by forks */
} self;

static void sleep_until(uint64_t until_ns, uint64_t now_ns)
{
	turn_waiting(true);
	sys_sleep_ns(until_ns > now_ns ? until_ns - now_ns : 0);
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

void agent_thread_before_fork(void)
{
	spin_lock(&self.setting_up);
}

void agent_thread_after_fork(void)
{
	spin_unlock(&self.setting_up);
}

/* With the turn, but for its waits. */
static void agent_loop(void)
{
	uint64_t tend_at_ns = 0;

	for (;;) {
		uint64_t now = sys_clock_ns(CLOCK_MONOTONIC), until;

		until = earlier(listen_tend(now), earlier(output_tick(now), target_tick(now)));
		if (now >= tend_at_ns) {
			bool sampling = cpu_tend(), again = sampling || census_watch();

			if (census_watch() && !atomic_load(&self.watcher) && census_only_agents()) {
				output_at_last();
				SYS1(SYS_exit_group, 0);
			}
			if (census_watch() && census_cannot_tell())
				return;
			tend_at_ns = again ? now + TEND_NS : UINT64_MAX;
		}
		if (cpu_needs_tending() || census_watch())
			tend_at_ns = tend_at_ns == UINT64_MAX ? now + TEND_NS : tend_at_ns;
		until = earlier(until, tend_at_ns);
		until = earlier(until, earlier(helper_tend(now), now + most_rest_ns));
		if (listen_server())
			server_turn(listen_server(), until);
		else
			sleep_until(until, now);
	}
}

static void *agent_thread(void *arg)
{
	bool apart;

	census_agent_begins();
	atomic_store(&self.tid, sys_gettid());
	sys_prctl(15 /* PR_SET_NAME */, (unsigned long)"pprof-agent", 0);
	apart = isolate_descriptors(self.fds, self.n);
	/* before the program goes on, which may change its root at once (hazard G4) */
	isolate_directory();
	if (!apart)
		log_line(LOG_ERROR, "the kernel gives the agent no descriptor table of its own "
				    "(close_range and unshare refused); not listening");
	/* before main goes on, which may end at once and would take itself for the last */
	if (!apart)
		census_agent_ends();
	atomic_store(&self.handed, apart ? TAKEN : REFUSED);
	sys_futex_wake((const void *)&self.handed, 1);
	if (!apart)
		return NULL;
	set_up_libunwind();
	turn_waiting(false);
	agent_loop();
	/* Perhaps nobody is left but this thread: libc counts as well, and ends the process then. */
	turn_waiting(true);
	census_agent_ends();
	return NULL;
}

/* All signals blocked but the two that libc needs for itself: glibc's sigfillset leaves them out. */
static int create_thread(void *(*routine)(void *))
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
	err = real.pthread_create(&thread, &attr, routine, NULL);
	tls.flags &= (uint16_t)~TLS_AGENT;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return err;
}

int agent_thread_start(const int *fds, unsigned n)
{
	if (n)
		memcpy(self.fds, fds, n * sizeof(*fds));
	self.n = n;
	if (create_thread(agent_thread) != 0) {
		log_line(LOG_ERROR, "cannot start the agent's thread; not listening");
		return EAGAIN;
	}
	while (n && atomic_load(&self.handed) == WAITED_FOR)
		sys_futex_wait((const void *)&self.handed, WAITED_FOR, NULL);
	return n && atomic_load(&self.handed) == REFUSED ? EPERM : 0;
}

/*
 * Threads live on of which nothing is known but that they are there; when they have gone, libc would end the process,
 * but for our thread. That one may sleep for ever, and what it would write for the program's last functions went to its
 * own descriptors: so this one looks, in the program's table, and ends the process as libc would.
 */
static void *watch_the_rest(void *unused)
{
	census_agent_begins();
	sys_prctl(15 /* PR_SET_NAME */, (unsigned long)"pprof-agent", 0);
	while (!census_only_agents()) {
		if (census_cannot_tell()) {
			/* libc can, when it does not count us: our other thread goes first */
			census_watch_begins();
			if (SYS3(SYS_tgkill, sys_getpid(), atomic_load(&self.tid), 0) == -ESRCH) {
				census_agent_ends();
				return unused;
			}
		}
		sys_sleep_ns(LOOK_NS);
	}
	exit(0);
}

void agent_thread_after_last(void)
{
	if (atomic_exchange(&self.watcher, true))
		return;
	if (create_thread(watch_the_rest) == 0)
		return;
	/* then it comes out at the next turn of our thread, without what exit does */
	atomic_store(&self.watcher, false);
	census_watch_begins();
}

void agent_thread_child(void)
{
	self.n = 0;
	atomic_store(&self.watcher, false);
	spin_reset(&self.setting_up);
	atomic_store(&self.handed, WAITED_FOR);
}
