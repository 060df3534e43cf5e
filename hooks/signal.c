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
#include "agent/base/sys.h"
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
 * The calls that take signals out of the queue. Samples are not for the program (hazard E5): one that
 * became due while the thread had blocked the signal is taken out and passed over; its periods are
 * booked when the session ends. The program's own deliveries of the same signal are handed out.
 */
static bool may_take_samples(const sigset_t *set)
{
	int sig = atomic_load_explicit(&signals_held, memory_order_relaxed);

	return UNLIKELY(sig) && set && sigismember(set, sig) == 1;
}

EXPORT int sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
	siginfo_t own;
	int sig;

	if (LIKELY(!may_take_samples(set)))
		return real.sigwaitinfo(set, info);
	do
		sig = real.sigwaitinfo(set, &own);
	while (sig > 0 && signals_is_sample(&own));
	if (sig > 0 && info)
		*info = own;
	return sig;
}

EXPORT int sigwait(const sigset_t *set, int *out_sig)
{
	int sig, keep = errno;

	if (LIKELY(!may_take_samples(set)))
		return real.sigwait(set, out_sig);
	/* sigwait knows no EINTR, and returns errors instead of setting errno */
	do
		sig = sigwaitinfo(set, NULL);
	while (sig < 0 && errno == EINTR);
	if (sig < 0) {
		sig = errno;
		errno = keep;
		return sig;
	}
	errno = keep;
	*out_sig = sig;
	return 0;
}

/* What is left of a time limit that began at start_ns. */
static struct timespec rest_of(const struct timespec *timeout, uint64_t start_ns)
{
	int64_t left = (int64_t)timeout->tv_sec * 1000000000 + timeout->tv_nsec -
		       (int64_t)(sys_clock_ns(CLOCK_MONOTONIC) - start_ns);

	if (left < 0)
		left = 0;
	return (struct timespec){ .tv_sec = left / 1000000000, .tv_nsec = left % 1000000000 };
}

EXPORT int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
	struct timespec rest;
	uint64_t start;
	siginfo_t own;
	int sig;

	if (LIKELY(!may_take_samples(set)))
		return real.sigtimedwait(set, info, timeout);
	if (!timeout)
		return sigwaitinfo(set, info);
	start = sys_clock_ns(CLOCK_MONOTONIC);
	sig = real.sigtimedwait(set, &own, timeout);
	while (sig > 0 && signals_is_sample(&own)) {
		rest = rest_of(timeout, start);
		sig = real.sigtimedwait(set, &own, &rest);
	}
	if (sig > 0 && info)
		*info = own;
	return sig;
}

/*
 * What comes out of a signalfd cannot be passed over, so our signal does not go in, unless the program
 * names it in a short list: then it uses it itself. "All signals" is not a short list.
 */
enum { SHORT_LIST = 16, SIGNALS = 64 };

static bool is_short_list(const sigset_t *set)
{
	int n = 0;

	for (int sig = 1; sig <= SIGNALS; sig++)
		n += sigismember(set, sig) == 1;
	return n <= SHORT_LIST;
}

EXPORT int signalfd(int fd, const sigset_t *set, int flags)
{
	sigset_t copy;

	if (LIKELY(!may_take_samples(set)) || is_short_list(set))
		return real.signalfd(fd, set, flags);
	copy = *set;
	sigdelset(&copy, atomic_load_explicit(&signals_held, memory_order_relaxed));
	return real.signalfd(fd, &copy, flags);
}
