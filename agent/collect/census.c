/* SPDX-License-Identifier: Apache-2.0 */
/* The count, and what the kernel says where it is not enough. */
#include "agent/collect/census.h"

#include <stdatomic.h>

#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/base/tls.h"

static struct {
	_Atomic int64_t live;	  /* application threads that have not ended */
	_Atomic uint64_t created; /* through pthread_create and thrd_create */
	_Atomic int agents;	  /* our own threads */
	_Atomic bool watch;	  /* the agent's own thread looks for the end of those that are left */
	_Atomic bool uncounted;	  /* there were threads that no memory was left to count */
} self = { .live = 1 };

uint64_t census_live(void)
{
	int64_t n = atomic_load_explicit(&self.live, memory_order_relaxed);

	return n > 0 ? (uint64_t)n : 0;
}

uint64_t census_created(void)
{
	return atomic_load_explicit(&self.created, memory_order_relaxed);
}

void census_add(void)
{
	atomic_fetch_add(&self.live, 1);
	atomic_fetch_add_explicit(&self.created, 1, memory_order_relaxed);
	stat_add(STAT_THREADS_SEEN, 1);
}

void census_take_back(void)
{
	atomic_fetch_sub(&self.live, 1);
	atomic_fetch_sub_explicit(&self.created, 1, memory_order_relaxed);
}

void census_uncounted(void)
{
	atomic_store(&self.uncounted, true);
}

void census_lost(void)
{
	atomic_fetch_sub(&self.live, 1);
	atomic_store(&self.uncounted, true);
}

/* Does the kernel still have threads of the program besides the caller? unknown: the answer when /proc cannot
 * be read. */
static bool others_live(bool unknown)
{
	_Alignas(8) char buf[2048];
	long fd = sys_open("/proc/thread-self/../", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int count = 0;
	long n;

	if (fd < 0)
		return unknown;
	while ((n = sys_getdents((int)fd, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < n;) {
			unsigned short len = *(unsigned short *)(buf + at + 16);

			if (buf[at + 19] >= '1' && buf[at + 19] <= '9')
				count++;
			at += len;
		}
	}
	sys_close((int)fd);
	if (n < 0)
		return unknown;
	/* our own threads, the caller if it is none of them, and main as a zombie if it ended first */
	return count > atomic_load(&self.agents) + !(tls.flags & TLS_AGENT) +
			       (sys_gettid() != sys_getpid());
}

bool census_alone_soon(void)
{
	for (int ms = 0; ms < 200; ms++) {
		/* without /proc our own count, which has just reached 0, is believed if it can be right */
		if (!others_live(atomic_load(&self.uncounted)))
			return true;
		sys_sleep_ns(1000000);
	}
	return false;
}

bool census_ended_last(void)
{
	return atomic_fetch_sub(&self.live, 1) == 1 && atomic_load(&self.agents);
}

/* While one of the counted lives, who may be main, the kernel's list is not asked: it has main in it to the last,
 * as a zombie when it has ended. */
static bool counted_ended(void)
{
	return atomic_load(&self.live) <= 0;
}

bool census_only_agents(void)
{
	return counted_ended() && !others_live(true);
}

bool census_cannot_tell(void)
{
	return counted_ended() && !others_live(false) && others_live(true);
}

void census_watch_begins(void)
{
	atomic_store(&self.watch, true);
}

bool census_watch(void)
{
	return atomic_load(&self.watch);
}

void census_agent_begins(void)
{
	guard_forever();
	tls.tid = (uint32_t)sys_gettid();
	atomic_fetch_add(&self.agents, 1);
}

void census_agent_ends(void)
{
	atomic_fetch_sub(&self.agents, 1);
}

void census_child(bool counted)
{
	atomic_store(&self.agents, 0);
	atomic_store(&self.live, 1);
	atomic_store(&self.watch, false);
	atomic_store(&self.uncounted, !counted);
	atomic_store(&self.created, 0);
}
