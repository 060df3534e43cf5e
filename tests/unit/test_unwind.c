/* SPDX-License-Identifier: Apache-2.0 */
/* Walks of live stacks of every kind, checked against what the test knows it called. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "agent/collect/unwind.h"
#include "tests/unit/test.h"
#include "tests/unit/walk.h"

TEST(unwind_here_is_what_glibc_says)
{
	walk_bounds();
	CHECK_INT(unwind_start(), 0);
	for (int depth = 0; depth < 100; depth += 9) {
		walk_deep(depth, walk_here);
		CHECK_INT(walked.end, UNWIND_ROOT);
		walk_same_as_glibc(1); /* unwind_here itself: nothing is "own" in this program */
	}
}

TEST(unwind_finds_unknown_bounds)
{
	unwind_start();
	walk_deep(20, walk_here);
	CHECK_INT(walked.end, UNWIND_ROOT);
	walk_same_as_glibc(1);
	walked.lo = 4096;
	walked.hi = 8192;
	walk_deep(400, walk_here); /* more than one probe */
	CHECK_INT(walked.end, UNWIND_ROOT);
	walk_same_as_glibc(1);
}

TEST(unwind_truncates_at_max)
{
	uint32_t all;

	walk_bounds();
	walk_deep(30, walk_here);
	all = walked.n;
	walked.max = all;
	walk_deep(30, walk_here);
	CHECK_INT(walked.end, UNWIND_ROOT);
	CHECK_INT(walked.n, all);
	walked.max = all - 1;
	walk_deep(30, walk_here);
	CHECK_INT(walked.end, UNWIND_TRUNCATED);
	CHECK_INT(walked.n, all - 1);
	walked.max = 0;
	walk_deep(30, walk_here);
	CHECK_INT(walked.end, UNWIND_TRUNCATED);
	CHECK_INT(walked.n, 0);
}

TEST(unwind_context_is_what_glibc_says)
{
	walk_bounds();
	walk_on_signal(SIGUSR1, walk_interrupted, 0);
	walk_deep(17, walk_kill_self);
	CHECK_INT(walked.end, UNWIND_ROOT);
	CHECK_INT(walked.pcs[0], walked.interrupted);
	CHECK(walked.n > 17);
	for (uint32_t i = 1; i < walked.n; i++)
		CHECK_INT(walked.pcs[i] + 1, (uintptr_t)walked.glibc[i + 2]);
	CHECK_INT(walked.n, walked.n_glibc - 2);
}

/* Samples at every instruction of libc's and our own code, by single steps. */
static struct {
	uint64_t steps, bad;
	enum unwind_end end;
	uintptr_t pc;
} stepping;

enum { TRAP_FLAG = 0x100 };

/* Starts and stops the processor's single steps in the walked.interrupted code. */
static void on_toggle(int sig, siginfo_t *info, void *context)
{
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] ^= TRAP_FLAG;
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;
	uintptr_t pcs[64];
	enum unwind_end end;
	uint32_t n = unwind_context(uc, walked.lo, walked.hi, pcs, 64, &end);

	stepping.steps++;
	if (end != UNWIND_ROOT || n < 5) {
		stepping.bad++;
		stepping.end = end;
		stepping.pc = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
	}
}

static NOINLINE void busy_libc(void)
{
	char text[200];
	time_t now = time(NULL);
	struct timespec ts;

	for (int i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "%d %s %g %p\n", i, "text", 0.1 * i, (void *)text);
		free(malloc(100 + (size_t)i * 5000));
		qsort(text, 20, 1, (int (*)(const void *, const void *))strcmp);
		clock_gettime(CLOCK_MONOTONIC, &ts);
		strftime(text, sizeof(text), "%c", gmtime(&now));
		dlsym(RTLD_DEFAULT, "no_such_symbol");
	}
}

TEST(unwind_at_every_instruction)
{
	walk_bounds();
	walk_on_signal(SIGTRAP, on_trap, 0);
	walk_on_signal(SIGUSR2, on_toggle, 0);
	raise(SIGUSR2);
	busy_libc();
	raise(SIGUSR2);
	printf("# %lu instructions\n", stepping.steps);
	CHECK(stepping.steps > 5000);
	if (stepping.bad)
		test_fail(__FILE__, __LINE__, "%lu of %lu incomplete, last: %s at %#lx (%s)",
			  stepping.bad, stepping.steps, unwind_end_name(stepping.end), stepping.pc,
			  walk_name(stepping.pc));
}

/* A handler on an alternate stack, walked.interrupted by another signal on the same stack. */
static NOINLINE void outer(int sig, siginfo_t *info, void *context)
{
	raise(SIGUSR1);
	STAY();
}

static NOINLINE void kill_nested(void)
{
	raise(SIGUSR2);
	STAY();
}

TEST(unwind_nested_handlers_on_alternate_stack)
{
	static char low[16384] __attribute__((aligned(16)));
	char *high = mmap((void *)0x7ffffff00000, 16384, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char here[16384];
	stack_t stacks[] = {
		{.ss_sp = low, .ss_size = sizeof(low)},
		{.ss_sp = high, .ss_size = 16384},
		{.ss_sp = here, .ss_size = sizeof(here)},
	};

	walk_bounds();
	walk_on_signal(SIGUSR1, walk_interrupted, SA_ONSTACK);
	walk_on_signal(SIGUSR2, outer, SA_ONSTACK);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(sigaltstack(&stacks[i], NULL), 0);
		walked.n = 0;
		walk_deep(5, kill_nested);
		CHECK_INT(walked.end, UNWIND_ROOT);
		CHECK(FIND(outer) < FIND(kill_nested));
		CHECK(FIND(kill_nested) != UINT32_MAX);
		CHECK_INT(walked.pcs[walked.n - 6] + 1, (uintptr_t)walked.glibc[walked.n_glibc - 6]);
	}
}

static ucontext_t main_context, coroutine;

static NOINLINE void in_coroutine(void)
{
	walk_deep(4, walk_kill_self);
	STAY();
}

TEST(unwind_coroutine_ends_at_start_context)
{
	char *stack = malloc(65536);

	unwind_start();
	walk_bounds();
	walk_on_signal(SIGUSR1, walk_interrupted, 0);
	getcontext(&coroutine);
	coroutine.uc_stack.ss_sp = stack;
	coroutine.uc_stack.ss_size = 65536;
	coroutine.uc_link = &main_context;
	makecontext(&coroutine, in_coroutine, 0);
	swapcontext(&main_context, &coroutine);
	CHECK_INT(walked.end, UNWIND_ROOT);
	CHECK(FIND(in_coroutine) != UINT32_MAX);
	CHECK(FIND(in_coroutine) >= walked.n - 2);
}

static void *thread_main(void *arg)
{
	walk_bounds();
	walk_deep(5, walk_here);
	CHECK_INT(walked.end, UNWIND_ROOT);
	walk_same_as_glibc(1);
	walk_deep(5, walk_kill_self);
	CHECK_INT(walked.end, UNWIND_ROOT);
	walked.lo = walked.hi = 0;
	walk_deep(5, walk_kill_self);
	CHECK_INT(walked.end, UNWIND_ROOT);
	return arg;
}

TEST(unwind_thread)
{
	pthread_t t;
	void *result;

	walk_on_signal(SIGUSR1, walk_interrupted, 0);
	pthread_create(&t, NULL, thread_main, &walked);
	pthread_join(t, &result);
	CHECK(result == &walked);
}

static NOINLINE void call_null(void)
{
	void (*volatile f)(void) = NULL;

	f();
	STAY();
}

static sigjmp_buf *out;

static void on_segv(int sig, siginfo_t *info, void *context)
{
	walk_interrupted(sig, info, context);
	siglongjmp(*out, 1);
}

TEST(unwind_call_of_null)
{
	static sigjmp_buf buf;

	walk_bounds();
	out = &buf;
	walk_on_signal(SIGSEGV, on_segv, 0);
	if (!sigsetjmp(buf, 1))
		call_null();
	CHECK_INT(walked.end, UNWIND_ROOT);
	CHECK_INT(FIND(call_null), 0);
}

TEST(unwind_keeps_errno_and_counts)
{
	uint64_t roots = unwind_ended(UNWIND_ROOT);

	errno = 4711;
	walk_here();
	CHECK_INT(errno, 4711);
	CHECK_INT(walked.end, UNWIND_ROOT);
	CHECK_INT(unwind_ended(UNWIND_ROOT), roots + 1);
	CHECK_STR(unwind_end_name(UNWIND_ROOT), "root");
	CHECK_STR(unwind_end_name(UNWIND_LOOP), "loop");
	CHECK_STR(unwind_end_name((enum unwind_end)99), "");
}

/* Realigned frames: CFA is a word in memory, saves are relative to the base pointer. */
static NOINLINE int aligned(int n)
{
	volatile char pad[64] __attribute__((aligned(64)));
	volatile char more[n];

	pad[0] = more[0] = 1;
	if (n > 1)
		return aligned(n - 1) + pad[0];
	raise(SIGUSR1);
	return pad[0];
}

TEST(unwind_realigned_frames)
{
	walk_bounds();
	walk_on_signal(SIGUSR1, walk_interrupted, 0);
	aligned(10);
	CHECK_INT(walked.end, UNWIND_ROOT);
	for (uint32_t i = 1; i < walked.n; i++)
		CHECK_INT(walked.pcs[i] + 1, (uintptr_t)walked.glibc[i + 2]);
}
