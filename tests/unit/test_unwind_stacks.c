/* SPDX-License-Identifier: Apache-2.0 */
/* Walks on small, foreign, deep and wrong stacks, and what a walk may not do: call the kernel. */
#include <errno.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "agent/base/stats.h"
#include "agent/collect/unwind.h"
#include "tests/unit/test.h"
#include "tests/unit/walk.h"

enum { MAX = 128 };

static struct {
	uintptr_t lo, hi;
	uintptr_t pcs[MAX];
	uint32_t n;
	enum unwind_end end;
} got;

static void handler(int sig, siginfo_t *info, void *context)
{
	got.n = unwind_context(context, got.lo, got.hi, got.pcs, MAX, &got.end);
}

static void on_signal(int sig, void (*action)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = {.sa_sigaction = action, .sa_flags = SA_SIGINFO | flags};

	sigaction(sig, &sa, NULL);
}

static NOINLINE void kill_self(void)
{
	/* not raise(): it needs 300 bytes of stack */
	syscall(SYS_tgkill, getpid(), (int)syscall(SYS_gettid), SIGUSR1);
	STAY();
}

static bool has(void (*fn)(void))
{
	for (uint32_t i = 0; i < got.n; i++)
		if (got.pcs[i] >= (uintptr_t)fn && got.pcs[i] < (uintptr_t)fn + 64)
			return true;
	return false;
}

static void *small_thread(void *arg)
{
	walk_stack(&got.lo, &got.hi);
	for (int i = 0; i < 100; i++)
		kill_self();
	CHECK_INT(got.end, UNWIND_ROOT);
	CHECK(has(kill_self));
	got.lo = got.hi = 0;
	kill_self();
	CHECK_INT(got.end, UNWIND_ROOT);
	return NULL;
}

TEST(stacks_smallest_thread)
{
	pthread_attr_t attr;
	pthread_t thread;

	unwind_start();
	on_signal(SIGUSR1, handler, 0);
	pthread_attr_init(&attr);
	CHECK_INT(pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN), 0);
	CHECK_INT(pthread_create(&thread, &attr, small_thread, NULL), 0);
	pthread_join(thread, NULL);
}

/* An alternate stack as Rust's standard library makes them, with a guard page below. */
TEST(stacks_alternate_of_8_kib)
{
	char *at = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t alternate = {.ss_sp = at + 4096, .ss_size = 8192};

	mprotect(at, 4096, PROT_NONE);
	CHECK_INT(sigaltstack(&alternate, NULL), 0);
	walk_stack(&got.lo, &got.hi);
	on_signal(SIGUSR1, handler, SA_ONSTACK);
	for (int i = 0; i < 100; i++)
		kill_self();
	CHECK_INT(got.end, UNWIND_ROOT);
	CHECK(has(kill_self));
}

static ucontext_t home, coroutine;

static NOINLINE void in_coroutine(void)
{
	kill_self();
	STAY();
}

/* Coroutines on stacks that hold no signal frame: the handler has a stack of its own. */
TEST(stacks_coroutines)
{
	static char alternate_stack[65536];
	stack_t alternate = {.ss_sp = alternate_stack, .ss_size = sizeof(alternate_stack)};
	static const size_t sizes[] = {2048, 4096, 8192, 16384};

	unwind_start();
	walk_stack(&got.lo, &got.hi);
	CHECK_INT(sigaltstack(&alternate, NULL), 0);
	on_signal(SIGUSR1, handler, SA_ONSTACK);
	for (int i = 0; i < 4; i++) {
		/* flush with the end of what is readable */
		char *map = mmap(NULL, 6 * 4096, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		mprotect(map + 5 * 4096, 4096, PROT_NONE);
		getcontext(&coroutine);
		coroutine.uc_stack.ss_sp = map + 5 * 4096 - sizes[i];
		coroutine.uc_stack.ss_size = sizes[i];
		coroutine.uc_link = &home;
		makecontext(&coroutine, in_coroutine, 0);
		got.n = 0;
		swapcontext(&home, &coroutine);
		CHECK_INT(got.end, UNWIND_ROOT);
		CHECK(has(in_coroutine));
		CHECK(got.n >= 3 && got.n <= 6);
	}
}

static NOINLINE int recurse(int n)
{
	int below;

	if (n == 0) {
		kill_self();
		return 1;
	}
	below = recurse(n - 1);
	STAY();
	return below + 1;
}

static void *deep_thread(void *arg)
{
	struct timespec from, to;
	double us;

	walk_stack(&got.lo, &got.hi);
	recurse(1000000);
	CHECK_INT(got.end, UNWIND_TRUNCATED);
	CHECK_INT(got.n, MAX);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	for (int i = 0; i < 100; i++)
		kill_self();
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
	us = ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / 1e5;
	CHECK(us < 1000);
	return NULL;
}

TEST(stacks_deep_recursion)
{
	pthread_attr_t attr;
	pthread_t thread;

	on_signal(SIGUSR1, handler, 0);
	pthread_attr_init(&attr);
	CHECK_INT(pthread_attr_setstacksize(&attr, (size_t)256 << 20), 0);
	CHECK_INT(pthread_create(&thread, &attr, deep_thread, NULL), 0);
	pthread_join(thread, NULL);
}

/* A base pointer chain that goes round: code without tables, so that the chain is followed. */
TEST(stacks_cyclic_chain)
{
	static uintptr_t stack[64] __attribute__((aligned(16)));
	char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ucontext_t context;
	uint32_t n;

	memset(&context, 0, sizeof(context));
	for (int i = 0; i < 64; i += 2) {
		stack[i] = (uintptr_t)&stack[(i + 2) % 64];
		stack[i + 1] = (uintptr_t)code + 100;
	}
	context.uc_mcontext.gregs[REG_RIP] = (greg_t)code + 50;
	context.uc_mcontext.gregs[REG_RSP] = (greg_t)stack;
	context.uc_mcontext.gregs[REG_RBP] = (greg_t)&stack[32];
	n = unwind_context(&context, (uintptr_t)stack, (uintptr_t)(stack + 64), got.pcs, MAX,
			   &got.end);
	CHECK(n >= 2 && n < 40);
	CHECK_INT(got.end, UNWIND_NO_RULE);
}

/* Stack pointers that lead nowhere. */
TEST(stacks_wrong_stack_pointers)
{
	static const uintptr_t wrong[] = {0,
					  1,
					  8,
					  4096,
					  0x7fffffffffff,
					  0x800000000000,
					  UINTPTR_MAX,
					  UINTPTR_MAX - 7,
					  UINTPTR_MAX - 4096};
	ucontext_t context;

	walk_stack(&got.lo, &got.hi);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memset(&context, 0, sizeof(context));
		context.uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)kill_self;
		context.uc_mcontext.gregs[REG_RSP] = (greg_t)wrong[i];
		context.uc_mcontext.gregs[REG_RBP] = (greg_t)wrong[i];
		/* above the top of the address space the sum wraps: then it is the order that is
		 * wrong */
		CHECK_INT(unwind_context(&context, got.lo, got.hi, got.pcs, MAX, &got.end), 1);
		CHECK(got.end == UNWIND_BOUNDS || got.end == UNWIND_LOOP);
		CHECK_INT(unwind_context(&context, 0, 0, got.pcs, MAX, &got.end), 1);
		CHECK(got.end == UNWIND_BOUNDS || got.end == UNWIND_LOOP);
	}
}

/* ---- no system call on a known stack; refused ones are survived */

#define REFUSE(nr, action)                                                                         \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, action)

static void filter(struct sock_filter *rows, unsigned short n)
{
	struct sock_fprog program = {.len = n, .filter = rows};

	CHECK_INT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		test_skip("no seccomp here");
}

TEST(stacks_walks_make_no_system_call)
{
	/* all but these kill the process */
	struct sock_filter rows[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		REFUSE(SYS_exit_group, SECCOMP_RET_ALLOW),
		REFUSE(SYS_rt_sigreturn, SECCOMP_RET_ALLOW),
		REFUSE(SYS_tgkill, SECCOMP_RET_ALLOW),
		REFUSE(SYS_getpid, SECCOMP_RET_ALLOW),
		REFUSE(SYS_gettid, SECCOMP_RET_ALLOW),
		REFUSE(SYS_write, SECCOMP_RET_ALLOW),
		REFUSE(SYS_newfstatat, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};

	unwind_start();
	walk_stack(&got.lo, &got.hi);
	on_signal(SIGUSR1, handler, 0);
	filter(rows, sizeof(rows) / sizeof(rows[0]));
	for (int i = 0; i < 1000; i++) {
		recurse(i % 90);
		CHECK_INT(got.end, UNWIND_ROOT);
		unwind_here(got.lo, got.hi, got.pcs, MAX, &got.end);
		CHECK_INT(got.end, UNWIND_ROOT);
	}
}

TEST(stacks_probe_refused)
{
	struct sock_filter rows[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		REFUSE(SYS_process_vm_readv, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	unwind_start();
	on_signal(SIGUSR1, handler, 0);
	filter(rows, sizeof(rows) / sizeof(rows[0]));
	kill_self();
	CHECK_INT(got.n, 1); /* the leaf is all that is known */
	CHECK_INT(got.end, UNWIND_BOUNDS);
	CHECK_INT(stat_read(STAT_UNWIND_DENIED), 1);
	walk_stack(&got.lo, &got.hi);
	kill_self();
	CHECK_INT(got.end, UNWIND_ROOT);
}

/* The red zone of interrupted code is readable where it is mapped, and not asked for where not. */
TEST(stacks_red_zone_below_an_unmapped_page)
{
	char *map =
		mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ucontext_t context;

	mprotect(map, 4096, PROT_NONE);
	memset(&context, 0, sizeof(context));
	context.uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)kill_self;
	context.uc_mcontext.gregs[REG_RSP] = (greg_t)(uintptr_t)(map + 4096);
	unwind_context(&context, (uintptr_t)map, (uintptr_t)map + 4 * 4096, got.pcs, MAX, &got.end);
	unwind_context(&context, 0, 0, got.pcs, MAX, &got.end);
	CHECK_INT(got.end, UNWIND_ROOT); /* the return address there is 0 */
}
