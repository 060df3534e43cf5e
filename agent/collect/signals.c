/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/collect/signals.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/spin.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/base/tls.h"

enum { RT_FIRST = 8 }; /* the first real-time signals are popular: start behind them */

_Atomic int signals_held;

static struct {
	int (*real)(int, const struct sigaction *, struct sigaction *);
	void (*sample)(uint32_t index, int overrun, void *context);
	struct spin lock;
	int installed;		/* the signal that our handler is installed for, 0: none yet */
	struct sigaction wish;	/* lock: what the program wants of the held signal */
	bool wished;		/* lock: it said so itself while we held the signal */
	_Atomic unsigned turn;	/* even: `wish` is stable; readers in a handler retry */
} self;

void signals_start(int (*real_sigaction)(int, const struct sigaction *, struct sigaction *))
{
	self.real = real_sigaction;
}

void signals_on_sample(void (*sample)(uint32_t index, int overrun, void *context))
{
	self.sample = sample;
}

/* The wish, read without a lock: a seqlock, given up after some tries (the writer may be the very
 * thread that we interrupted). */
static bool read_wish(struct sigaction *out)
{
	for (int tries = 0; tries < 100; tries++) {
		unsigned before = atomic_load_explicit(&self.turn, memory_order_acquire);

		if (before & 1)
			continue;
		memcpy(out, &self.wish, sizeof(*out));
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&self.turn, memory_order_relaxed) == before)
			return true;
	}
	return false;
}

/* lock is held */
static void write_wish(const struct sigaction *act)
{
	atomic_fetch_add_explicit(&self.turn, 1, memory_order_acq_rel);
	self.wish = *act;
	atomic_fetch_add_explicit(&self.turn, 1, memory_order_release);
}

/* The program has no handler and the signal was not ours: do what would have happened without us. */
static void default_action(int sig)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	uint64_t set = (uint64_t)1 << (sig - 1);

	self.real(sig, &dfl, NULL);
	SYS3(SYS_tgkill, sys_getpid(), sys_gettid(), sig);
	sys_sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* A delivery that is the program's own: its handler, with its mask and flags. */
static void forward(int sig, siginfo_t *info, void *context)
{
	struct sigaction wish;
	uint64_t add, old;

	stat_add(STAT_CPU_FOREIGN, 1);
	if (!read_wish(&wish))
		return;
	if (!(wish.sa_flags & SA_SIGINFO)) {
		if (wish.sa_handler == SIG_IGN)
			return;
		if (wish.sa_handler == SIG_DFL) {
			default_action(sig);
			return;
		}
	}
	memcpy(&add, &wish.sa_mask, sizeof(add));
	if (!(wish.sa_flags & SA_NODEFER))
		add |= (uint64_t)1 << (sig - 1);
	if (wish.sa_flags & (int)SA_RESETHAND) {
		struct sigaction dfl = { .sa_handler = SIG_DFL };

		if (spin_try(&self.lock)) {
			write_wish(&dfl);
			spin_unlock(&self.lock);
		}
	}
	sys_sigprocmask(SIG_BLOCK, &add, &old);
	if (wish.sa_flags & SA_SIGINFO)
		wish.sa_sigaction(sig, info, context);
	else
		wish.sa_handler(sig);
	sys_sigprocmask(SIG_SETMASK, &old, NULL);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	if (signals_is_sample(info)) {
		/* nothing in here touches errno. Saving and restoring it would be a fault: in a raw
		 * clone it is another thread's (hazard C8) */
		self.sample((uint32_t)(uintptr_t)info->si_value.sival_ptr, info->si_overrun, context);
	} else {
		int keep = errno;

		forward(sig, info, context);
		errno = keep;
	}
}

static int install(int sig)
{
	struct sigaction act, old;

	memset(&act, 0, sizeof(act));
	act.sa_sigaction = on_signal;
	act.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
	spin_lock(&self.lock);
	/* from here on the hooks keep the program's wishes to us */
	atomic_store(&signals_held, sig);
	if (self.real(sig, &act, &old) != 0) {
		atomic_store(&signals_held, 0);
		spin_unlock(&self.lock);
		return -EINVAL;
	}
	if (old.sa_flags & SA_SIGINFO ? old.sa_sigaction != on_signal : true) {
		write_wish(&old);
		self.wished = false;
	}
	self.installed = sig;
	spin_unlock(&self.lock);
	return sig;
}

static bool is_ours(const struct sigaction *act)
{
	return (act->sa_flags & SA_SIGINFO) && act->sa_sigaction == on_signal;
}

static bool is_free(int sig)
{
	struct sigaction now;

	if (self.real(sig, NULL, &now) != 0)
		return false;
	return is_ours(&now) || (!(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL);
}

int signals_take(void)
{
	struct sigaction now;

	if (atomic_load(&signals_held))
		return atomic_load(&signals_held);
	/* the handler of last time is still there: the same signal again */
	if (self.installed && self.real(self.installed, NULL, &now) == 0 && is_ours(&now)) {
		atomic_store(&signals_held, self.installed);
		return self.installed;
	}
	if (is_free(SIGPROF))
		return install(SIGPROF);
	for (int sig = SIGRTMIN + RT_FIRST; sig <= SIGRTMAX; sig++)
		if (is_free(sig))
			return install(sig);
	return -EBUSY;
}

bool signals_release(bool (*pending)(int sig))
{
	int sig = atomic_load(&signals_held);

	if (!sig)
		return true;
	/* A program that never asked for the signal is left with our handler: resetting it could
	 * kill the process by a late sample. We go on holding it, so that its first wish finds us. */
	spin_lock(&self.lock);
	if (!self.wished) {
		spin_unlock(&self.lock);
		return true;
	}
	spin_unlock(&self.lock);
	if (pending(sig))
		return false;
	spin_lock(&self.lock);
	self.real(sig, &self.wish, NULL);
	self.wished = false;
	atomic_store(&signals_held, 0);
	spin_unlock(&self.lock);
	return true;
}

int signals_wish(int sig, const struct sigaction *act, struct sigaction *old)
{
	bool guarded = guard_enter();

	spin_lock(&self.lock);
	if (!signals_holds(sig)) {
		spin_unlock(&self.lock);
		if (guarded)
			guard_leave();
		return self.real(sig, act, old);
	}
	if (old)
		*old = self.wish;
	if (act) {
		write_wish(act);
		self.wished = true;
	}
	spin_unlock(&self.lock);
	if (guarded)
		guard_leave();
	return 0;
}

void signals_child(void)
{
	spin_reset(&self.lock);
}
