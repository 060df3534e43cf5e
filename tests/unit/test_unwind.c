/* SPDX-License-Identifier: Apache-2.0 */
/* Walks of live stacks of every kind, checked against what the test knows it called. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
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

/* 64 bytes at least, so that FIND cannot take one for the other. */
#define NOINLINE __attribute__((noinline, aligned(64)))
/* Keeps a call from becoming a jump. */
#define STAY() __asm__ volatile("" ::: "memory")

enum { MAX = 600 };

static struct {
	uintptr_t pcs[MAX];
	uint32_t n;
	uint32_t max;
	enum unwind_end end;
	uintptr_t lo, hi;
	void *glibc[MAX];
	int n_glibc;
} got = {.max = MAX};

static void bounds(void)
{
	pthread_attr_t attr;
	void *lo;
	size_t size;

	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstack(&attr, &lo, &size);
	pthread_attr_destroy(&attr);
	got.lo = (uintptr_t)lo;
	got.hi = got.lo + size;
}

static NOINLINE void take_here(void)
{
	got.n = unwind_here(got.lo, got.hi, got.pcs, got.max, &got.end);
	STAY();
	got.n_glibc = backtrace(got.glibc, MAX);
	STAY();
}

static NOINLINE int deep(int n, void (*leaf)(void))
{
	volatile char pad[1 + n % 7 * 40];

	pad[0] = 1;
	if (n == 0)
		leaf();
	else
		deep(n - 1, leaf);
	STAY();
	return pad[0];
}

static const char *name_of(uintptr_t pc)
{
	Dl_info info;

	return dladdr((void *)pc, &info) && info.dli_sname ? info.dli_sname : "?";
}

/* Frames [0, n) of ours from `skip` on are glibc's. */
static void same_as_glibc(uint32_t skip)
{
	CHECK(got.n_glibc > 3);
	for (int i = 1; i < got.n_glibc && i + skip < got.n; i++)
		if (got.pcs[i + skip] + 1 != (uintptr_t)got.glibc[i])
			test_fail(__FILE__, __LINE__, "frame %d is %#lx (%s), not %p", i + skip,
				  got.pcs[i + skip] + 1, name_of(got.pcs[i + skip]), got.glibc[i]);
	CHECK_INT(got.n, got.n_glibc + skip);
}

TEST(unwind_here_is_what_glibc_says)
{
	bounds();
	CHECK_INT(unwind_start(), 0);
	for (int depth = 0; depth < 100; depth += 9) {
		deep(depth, take_here);
		CHECK_INT(got.end, UNWIND_ROOT);
		same_as_glibc(1); /* unwind_here itself: nothing is "own" in this program */
	}
}

TEST(unwind_finds_unknown_bounds)
{
	unwind_start();
	deep(20, take_here);
	CHECK_INT(got.end, UNWIND_ROOT);
	same_as_glibc(1);
	got.lo = 4096;
	got.hi = 8192;
	deep(400, take_here); /* more than one probe */
	CHECK_INT(got.end, UNWIND_ROOT);
	same_as_glibc(1);
}

TEST(unwind_truncates_at_max)
{
	uint32_t all;

	bounds();
	deep(30, take_here);
	all = got.n;
	got.max = all;
	deep(30, take_here);
	CHECK_INT(got.end, UNWIND_ROOT);
	CHECK_INT(got.n, all);
	got.max = all - 1;
	deep(30, take_here);
	CHECK_INT(got.end, UNWIND_TRUNCATED);
	CHECK_INT(got.n, all - 1);
	got.max = 0;
	deep(30, take_here);
	CHECK_INT(got.end, UNWIND_TRUNCATED);
	CHECK_INT(got.n, 0);
}

static uintptr_t interrupted;

static void handler(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;

	interrupted = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
	got.n = unwind_context(uc, got.lo, got.hi, got.pcs, got.max, &got.end);
	got.n_glibc = backtrace(got.glibc, MAX);
}

static void on_signal(int sig, void (*action)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = {.sa_sigaction = action, .sa_flags = SA_SIGINFO | flags};

	sigaction(sig, &sa, NULL);
}

static void kill_self(void)
{
	raise(SIGUSR1);
}

TEST(unwind_context_is_what_glibc_says)
{
	bounds();
	on_signal(SIGUSR1, handler, 0);
	deep(17, kill_self);
	CHECK_INT(got.end, UNWIND_ROOT);
	CHECK_INT(got.pcs[0], interrupted);
	CHECK(got.n > 17);
	for (uint32_t i = 1; i < got.n; i++)
		CHECK_INT(got.pcs[i] + 1, (uintptr_t)got.glibc[i + 2]);
	CHECK_INT(got.n, got.n_glibc - 2);
}

/* Samples at every instruction of libc's and our own code, by single steps. */
static struct {
	uint64_t steps, bad;
	enum unwind_end end;
	uintptr_t pc;
} stepping;

enum { TRAP_FLAG = 0x100 };

/* Starts and stops the processor's single steps in the interrupted code. */
static void on_toggle(int sig, siginfo_t *info, void *context)
{
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] ^= TRAP_FLAG;
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;
	uintptr_t pcs[64];
	enum unwind_end end;
	uint32_t n = unwind_context(uc, got.lo, got.hi, pcs, 64, &end);

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
	bounds();
	on_signal(SIGTRAP, on_trap, 0);
	on_signal(SIGUSR2, on_toggle, 0);
	raise(SIGUSR2);
	busy_libc();
	raise(SIGUSR2);
	printf("# %lu instructions\n", stepping.steps);
	CHECK(stepping.steps > 5000);
	if (stepping.bad)
		test_fail(__FILE__, __LINE__, "%lu of %lu incomplete, last: %s at %#lx (%s)",
			  stepping.bad, stepping.steps, unwind_end_name(stepping.end), stepping.pc,
			  name_of(stepping.pc));
}

/* A handler on an alternate stack, interrupted by another signal on the same stack. */
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

static uint32_t find(uintptr_t low, uintptr_t high)
{
	for (uint32_t i = 0; i < got.n; i++)
		if (got.pcs[i] >= low && got.pcs[i] < high)
			return i;
	return UINT32_MAX;
}
#define FIND(fn) find((uintptr_t)(fn), (uintptr_t)(fn) + 64)

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

	bounds();
	on_signal(SIGUSR1, handler, SA_ONSTACK);
	on_signal(SIGUSR2, outer, SA_ONSTACK);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(sigaltstack(&stacks[i], NULL), 0);
		got.n = 0;
		deep(5, kill_nested);
		CHECK_INT(got.end, UNWIND_ROOT);
		CHECK(FIND(outer) < FIND(kill_nested));
		CHECK(FIND(kill_nested) != UINT32_MAX);
		CHECK_INT(got.pcs[got.n - 6] + 1, (uintptr_t)got.glibc[got.n_glibc - 6]);
	}
}

static ucontext_t main_context, coroutine;

static NOINLINE void in_coroutine(void)
{
	deep(4, kill_self);
	STAY();
}

TEST(unwind_coroutine_ends_at_start_context)
{
	char *stack = malloc(65536);

	unwind_start();
	bounds();
	on_signal(SIGUSR1, handler, 0);
	getcontext(&coroutine);
	coroutine.uc_stack.ss_sp = stack;
	coroutine.uc_stack.ss_size = 65536;
	coroutine.uc_link = &main_context;
	makecontext(&coroutine, in_coroutine, 0);
	swapcontext(&main_context, &coroutine);
	CHECK_INT(got.end, UNWIND_ROOT);
	CHECK(FIND(in_coroutine) != UINT32_MAX);
	CHECK(FIND(in_coroutine) >= got.n - 2);
}

static void *thread_main(void *arg)
{
	bounds();
	deep(5, take_here);
	CHECK_INT(got.end, UNWIND_ROOT);
	same_as_glibc(1);
	deep(5, kill_self);
	CHECK_INT(got.end, UNWIND_ROOT);
	got.lo = got.hi = 0;
	deep(5, kill_self);
	CHECK_INT(got.end, UNWIND_ROOT);
	return arg;
}

TEST(unwind_thread)
{
	pthread_t t;
	void *result;

	on_signal(SIGUSR1, handler, 0);
	pthread_create(&t, NULL, thread_main, &got);
	pthread_join(t, &result);
	CHECK(result == &got);
}

/* Code without tables. Each calls the function in rdi. */
static const uint8_t with_frame[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x83,
				     0xec, 0x20, 0xff, 0xd7, 0xc9, 0xc3};
static const uint8_t without_frame[] = {0x48, 0x83, 0xec, 0x18, 0xff, 0xd7,
					0x48, 0x83, 0xc4, 0x18, 0xc3};
static const uint8_t leaf_traps[] = {0xcc, 0xc3};

static char *generated(const uint8_t *code, size_t size)
{
	char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);

	memcpy(at + 64, code, size);
	return at + 64;
}

/* Calls `code` with `then` and no base pointer: the chain of them would skip this frame. */
void call_generated(char *code, void (*then)(void));
__asm__(".text\n"
	".p2align 6\n"
	".type call_generated, @function\n"
	"call_generated:\n"
	"	.cfi_startproc\n"
	"	push	%rbp\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	.cfi_rel_offset %rbp, 0\n"
	"	xor	%ebp, %ebp\n"
	"	mov	%rdi, %rax\n"
	"	mov	%rsi, %rdi\n"
	"	call	*%rax\n"
	"	pop	%rbp\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	"	.p2align 6\n");

TEST(unwind_generated_code)
{
	char *framed = generated(with_frame, sizeof(with_frame));
	char *frameless = generated(without_frame, sizeof(without_frame));
	char *leaf = generated(leaf_traps, sizeof(leaf_traps));

	bounds();
	on_signal(SIGUSR1, handler, 0);
	on_signal(SIGTRAP, handler, 0);
	call_generated(framed, kill_self);
	CHECK_INT(got.end, UNWIND_ROOT);
	CHECK(find((uintptr_t)framed, (uintptr_t)framed + 16) < FIND(call_generated));
	CHECK(FIND(call_generated) != UINT32_MAX);
	call_generated(frameless, kill_self);
	CHECK_INT(got.end, UNWIND_ROOT);
	CHECK(find((uintptr_t)frameless, (uintptr_t)frameless + 16) < FIND(call_generated));
	CHECK(FIND(call_generated) != UINT32_MAX);
	call_generated(leaf, kill_self);
	CHECK_INT(got.end, UNWIND_ROOT);
	CHECK_INT(got.pcs[0], leaf + 1);
	CHECK_INT(FIND(call_generated), 1);
}

/* As optimizing compilers at run time make it: no base pointer, and on the stack what an earlier
 * call left behind (rdx). */
static const uint8_t with_decoy[] = {0x48, 0x83, 0xec, 0x48, 0x48, 0x89, 0x54, 0x24,
				     0x08, 0xff, 0xd7, 0x48, 0x83, 0xc4, 0x48, 0xc3};

TEST(unwind_generated_code_with_decoy)
{
	char *code = generated(with_decoy, sizeof(with_decoy));
	void (*call)(char *, void (*)(void), uintptr_t) =
		(void (*)(char *, void (*)(void), uintptr_t))call_generated;
	uint32_t i;

	bounds();
	on_signal(SIGUSR1, handler, 0);
	deep(3, kill_self);
	for (i = 2; i < got.n; i++) /* deep calls itself at a fixed address */
		if (((const uint8_t *)got.pcs[i])[-4] == 0xe8)
			break;
	CHECK(i < got.n);
	call(code, kill_self, got.pcs[i] + 1);
	CHECK_INT(got.end, UNWIND_ROOT);
	i = find((uintptr_t)code, (uintptr_t)code + sizeof(with_decoy));
	CHECK(i != UINT32_MAX);
	CHECK_INT(FIND(call_generated), i + 1);
}

/* The base pointer is a register like any other: here it points at a zero and a pointer to data (rdx)
 * next to the code, as that of regular expressions compiled at run time does. */
static const uint8_t with_other_base[] = {0x48, 0x83, 0xec, 0x48,	      /* sub $0x48, %rsp */
					  0x48, 0x8d, 0x6c, 0x24, 0x08,	      /* lea 8(%rsp), %rbp */
					  0x48, 0xc7, 0x45, 0x00, 0, 0, 0, 0, /* movq $0, (%rbp) */
					  0x48, 0x89, 0x55, 0x08,	      /* mov %rdx, 8(%rbp) */
					  0xff, 0xd7, 0x48, 0x83, 0xc4, 0x48, 0xc3}; /* call *%rdi */

TEST(unwind_generated_code_with_other_base_pointer)
{
	char *code = generated(with_other_base, sizeof(with_other_base));
	void (*call)(char *, void (*)(void), uintptr_t) =
		(void (*)(char *, void (*)(void), uintptr_t))call_generated;
	uint32_t i;

	bounds();
	on_signal(SIGUSR1, handler, 0);
	call(code, kill_self, (uintptr_t)code + 2048);
	CHECK_INT(got.end, UNWIND_ROOT);
	i = find((uintptr_t)code, (uintptr_t)code + sizeof(with_other_base));
	CHECK(i != UINT32_MAX);
	CHECK_INT(FIND(call_generated), i + 1);
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
	handler(sig, info, context);
	siglongjmp(*out, 1);
}

TEST(unwind_call_of_null)
{
	static sigjmp_buf buf;

	bounds();
	out = &buf;
	on_signal(SIGSEGV, on_segv, 0);
	if (!sigsetjmp(buf, 1))
		call_null();
	CHECK_INT(got.end, UNWIND_ROOT);
	CHECK_INT(FIND(call_null), 0);
}

TEST(unwind_keeps_errno_and_counts)
{
	uint64_t roots = unwind_ended(UNWIND_ROOT);

	errno = 4711;
	take_here();
	CHECK_INT(errno, 4711);
	CHECK_INT(got.end, UNWIND_ROOT);
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
	bounds();
	on_signal(SIGUSR1, handler, 0);
	aligned(10);
	CHECK_INT(got.end, UNWIND_ROOT);
	for (uint32_t i = 1; i < got.n; i++)
		CHECK_INT(got.pcs[i] + 1, (uintptr_t)got.glibc[i + 2]);
}

static void *close_begins(void *arg)
{
	unwind_before_close();
	return arg;
}

static void *close_ends(void *arg)
{
	unwind_after_close();
	return arg;
}

static void in_thread(void *(*what)(void *))
{
	pthread_t thread;

	pthread_create(&thread, NULL, what, NULL);
	pthread_join(thread, NULL);
}

/* Tables are followed meanwhile, but nothing is guessed, except in the thread that closes: there
 * run the destructors of the module. */
TEST(unwind_while_a_module_is_closing)
{
	char *framed = generated(with_frame, sizeof(with_frame));

	bounds();
	on_signal(SIGUSR1, handler, 0);
	in_thread(close_begins);
	deep(5, take_here);
	CHECK_INT(got.end, UNWIND_ROOT);
	same_as_glibc(1);
	call_generated(framed, kill_self);
	CHECK_INT(got.end, UNWIND_NO_RULE);
	unwind_before_close();
	call_generated(framed, kill_self);
	CHECK_INT(got.end, UNWIND_NO_RULE);
	in_thread(close_ends);
	unwind_after_close();
	call_generated(framed, kill_self);
	CHECK_INT(got.end, UNWIND_ROOT);
	unwind_before_close();
	call_generated(framed, kill_self);
	CHECK_INT(got.end, UNWIND_ROOT);
	unwind_after_close();
}
