/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/walk.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <ucontext.h>

#include "tests/unit/test.h"

struct walk walked = {.max = WALK_MAX};

void walk_stack(uintptr_t *lo, uintptr_t *hi)
{
	pthread_attr_t attr;
	void *at;
	size_t size;

	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstack(&attr, &at, &size);
	pthread_attr_destroy(&attr);
	*lo = (uintptr_t)at;
	*hi = *lo + size;
}

void walk_bounds(void)
{
	walk_stack(&walked.lo, &walked.hi);
}

NOINLINE void walk_here(void)
{
	walked.n = unwind_here(walked.lo, walked.hi, walked.pcs, walked.max, &walked.end);
	STAY();
	walked.n_glibc = backtrace(walked.glibc, WALK_MAX);
	STAY();
}

NOINLINE int walk_deep(int n, void (*leaf)(void))
{
	volatile char pad[1 + n % 7 * 40];

	pad[0] = 1;
	if (n == 0)
		leaf();
	else
		walk_deep(n - 1, leaf);
	STAY();
	return pad[0];
}

void walk_interrupted(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;

	walked.interrupted = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
	walked.n = unwind_context(uc, walked.lo, walked.hi, walked.pcs, walked.max, &walked.end);
	walked.n_glibc = backtrace(walked.glibc, WALK_MAX);
}

void walk_on_signal(int sig, void (*action)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = {.sa_sigaction = action, .sa_flags = SA_SIGINFO | flags};

	sigaction(sig, &sa, NULL);
}

void walk_kill_self(void)
{
	raise(SIGUSR1);
}

uint32_t walk_find(uintptr_t low, uintptr_t high)
{
	for (uint32_t i = 0; i < walked.n; i++)
		if (walked.pcs[i] >= low && walked.pcs[i] < high)
			return i;
	return UINT32_MAX;
}

const char *walk_name(uintptr_t pc)
{
	Dl_info info;

	return dladdr((void *)pc, &info) && info.dli_sname ? info.dli_sname : "?";
}

void walk_same_as_glibc(uint32_t skip)
{
	CHECK(walked.n_glibc > 3);
	for (int i = 1; i < walked.n_glibc && i + skip < walked.n; i++)
		if (walked.pcs[i + skip] + 1 != (uintptr_t)walked.glibc[i])
			test_fail(__FILE__, __LINE__, "frame %d is %#lx (%s), not %p", i + skip,
				  walked.pcs[i + skip] + 1, walk_name(walked.pcs[i + skip]),
				  walked.glibc[i]);
	CHECK_INT(walked.n, walked.n_glibc + skip);
}
