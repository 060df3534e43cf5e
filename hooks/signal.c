/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls that set what a signal does. They differ from libc's only for the one signal that
 * samples, while it is ours (collect/signals.h), and with PPROF_OUTPUT or PPROF_SD_DIR for those whose
 * default action kills (collect/deaths.h).
 *
 * Context: hook.
 */
#include <errno.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/collect/altstack.h"
#include "agent/collect/deaths.h"
#include "agent/collect/signals.h"
#include "hooks/real.h"

/* Somebody here has a handler, or keeps the program's wish, for it. */
static bool is_kept(int sig)
{
	return signals_holds(sig) || deaths_watches(sig);
}

static int set_kept(int sig, const struct sigaction *act, struct sigaction *old)
{
	return deaths_watches(sig) ? deaths_action(sig, act, old) : signals_wish(sig, act, old);
}

EXPORT int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	if (LIKELY(!is_kept(sig)))
		return real.sigaction(sig, act, old);
	return set_kept(sig, act, old);
}

/* signal(), as glibc's default: restarting, the signal itself masked in its handler. */
EXPORT sighandler_t signal(int sig, sighandler_t handler)
{
	struct sigaction act, old;

	if (LIKELY(!is_kept(sig)))
		return real.signal(sig, handler);
	memset(&act, 0, sizeof(act));
	act.sa_handler = handler;
	act.sa_flags = SA_RESTART;
	sigaddset(&act.sa_mask, sig);
	if (set_kept(sig, &act, &old) != 0)
		return SIG_ERR;
	return old.sa_handler;
}

/* sigset(): blocks the signal for SIG_HOLD, else sets the handler and unblocks it. */
EXPORT sighandler_t sigset(int sig, sighandler_t handler)
{
	struct sigaction act, old;
	sigset_t one, before;

	if (LIKELY(!is_kept(sig)))
		return real.sigset(sig, handler);
	sigemptyset(&one);
	sigaddset(&one, sig);
	if (handler == SIG_HOLD) {
		if (pthread_sigmask(SIG_BLOCK, &one, &before) != 0 || set_kept(sig, NULL, &old) != 0)
			return SIG_ERR;
	} else {
		memset(&act, 0, sizeof(act));
		act.sa_handler = handler;
		if (set_kept(sig, &act, &old) != 0 ||
		    pthread_sigmask(SIG_UNBLOCK, &one, &before) != 0)
			return SIG_ERR;
	}
	return sigismember(&before, sig) ? SIG_HOLD : old.sa_handler;
}

/*
 * The alternate stack that the agent gave to a thread without one (collect/altstack.h) is not the
 * program's: runtimes that find a stack use it as theirs, and some unmap what they find when the thread
 * ends (the address sanitizer, .NET). So the program sees none, as without us, and its own replaces ours.
 */
EXPORT int sigaltstack(const stack_t *restrict stack, stack_t *restrict old)
{
	bool hidden = altstack_is_ours();
	int err = real.sigaltstack(stack, old);

	if (hidden && !err && old)
		*old = (stack_t){ .ss_flags = SS_DISABLE };
	return err;
}

/*
 * The calls that take signals out of the queue. A program that waits for "all" signals must not be
 * handed ours (hazard E5): it is left out of the set while we hold it and the program has not asked
 * for it by a handler of its own.
 */
static const sigset_t *without_ours(const sigset_t *set, sigset_t *copy)
{
	int sig = atomic_load_explicit(&signals_held, memory_order_relaxed);

	if (LIKELY(!sig) || !set || sigismember(set, sig) != 1)
		return set;
	*copy = *set;
	sigdelset(copy, sig);
	return copy;
}

EXPORT int sigwait(const sigset_t *set, int *out_sig)
{
	sigset_t copy;

	return real.sigwait(without_ours(set, &copy), out_sig);
}

EXPORT int sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
	sigset_t copy;

	return real.sigwaitinfo(without_ours(set, &copy), info);
}

EXPORT int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
	sigset_t copy;

	return real.sigtimedwait(without_ours(set, &copy), info, timeout);
}

EXPORT int signalfd(int fd, const sigset_t *set, int flags)
{
	sigset_t copy;

	return real.signalfd(fd, without_ours(set, &copy), flags);
}
