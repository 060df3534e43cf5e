/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is installed is asked of the kernel each time, never remembered: a vfork child has dispositions of
 * its own and shares this memory.
 */
#include "agent/collect/deaths.h"

#include <errno.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/sys.h"

enum { LAST_SIGNAL = 64 };

_Atomic uint64_t deaths_watched;

static struct {
	int (*real)(int, const struct sigaction *, struct sigaction *);
	void (*dies)(int sig);
	void (*asked)(void);
	_Atomic uint64_t fatal; /* bit sig - 1 */
	int pid;		/* of the process that the handlers were made for, or its last forked child */
	_Atomic int dying;
} self;

/* What the program set along with SIG_DFL: given back when it asks. */
static struct {
	int flags;
	sigset_t mask;
} defaults[LAST_SIGNAL + 1] BIG;

/* To be called in the signal's own handler, where it is blocked: it comes when the handler returns, in
 * the place that it interrupted, so that a core file shows that. */
static void take_default(int sig)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };

	self.real(sig, &dfl, NULL);
	SYS3(SYS_tgkill, sys_getpid(), sys_gettid(), sig);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	int keep = errno;
	bool fatal = atomic_load(&self.fatal) >> (sig - 1) & 1;

	/* vfork children and raw clones share this memory and are not what is watched */
	if (sys_getpid() != self.pid) {
		take_default(sig);
	} else if (!fatal) {
		self.asked();
	} else if (atomic_load(&self.dying)) {
		take_default(sig); /* a second one: somebody is impatient */
	} else {
		atomic_store(&self.dying, 1);
		self.dies(sig);
		take_default(sig);
	}
	errno = keep;
}

static bool is_ours(const struct sigaction *act)
{
	return (act->sa_flags & SA_SIGINFO) && act->sa_sigaction == on_signal;
}

static bool is_default(const struct sigaction *act)
{
	return !(act->sa_flags & SA_SIGINFO) && act->sa_handler == SIG_DFL;
}

static void fill_ours(struct sigaction *act)
{
	memset(act, 0, sizeof(*act));
	act->sa_sigaction = on_signal;
	act->sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
}

void deaths_start(int (*real_sigaction)(int, const struct sigaction *, struct sigaction *),
		  void (*dies)(int sig), void (*asked)(void))
{
	self.real = real_sigaction;
	self.dies = dies;
	self.asked = asked;
	self.pid = sys_getpid();
}

bool deaths_watch(int sig, bool fatal)
{
	struct sigaction act;

	if (self.real(sig, NULL, &act) != 0)
		return false;
	if (fatal)
		atomic_fetch_or(&self.fatal, (uint64_t)1 << (sig - 1));
	/* from here on the hooks keep the program's SIG_DFL to us */
	atomic_fetch_or(&deaths_watched, (uint64_t)1 << (sig - 1));
	if (!is_default(&act))
		return is_ours(&act);
	defaults[sig].flags = act.sa_flags;
	defaults[sig].mask = act.sa_mask;
	fill_ours(&act);
	return self.real(sig, &act, NULL) == 0;
}

bool deaths_has(int sig)
{
	struct sigaction act;

	return self.real(sig, NULL, &act) == 0 && is_ours(&act);
}

int deaths_action(int sig, const struct sigaction *act, struct sigaction *old)
{
	struct sigaction ours, before;
	bool dfl = act && is_default(act);
	int flags = defaults[sig].flags;
	sigset_t mask = defaults[sig].mask;

	if (dfl)
		fill_ours(&ours);
	if (self.real(sig, dfl ? &ours : act, &before) != 0)
		return -1;
	if (dfl) {
		defaults[sig].flags = act->sa_flags;
		defaults[sig].mask = act->sa_mask;
	}
	if (!old)
		return 0;
	*old = before;
	if (is_ours(&before)) {
		memset(old, 0, sizeof(*old));
		old->sa_handler = SIG_DFL;
		old->sa_flags = flags;
		old->sa_mask = mask;
	}
	return 0;
}

void deaths_child(void)
{
	self.pid = sys_getpid();
	atomic_store(&self.dying, 0);
}
