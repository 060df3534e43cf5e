/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stack walk costs: ours warm, ours with every rule missing from the cache, a frame pointer
 * walk, glibc's backtrace and libunwind's local and remote step, in one run over the same chain of
 * 110 distinct functions. Then the stack that a handler needs, by painting an alternate stack.
 * Nanoseconds of CPU time in the fastest of 25 batches, as other work on the machine only adds;
 * "ns/frame" is the slope between depths 5 and 100.
 */
#include <dlfcn.h>
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/collect/unwind.h"
#include "agent/collect/unwind_rule.h"

#define NOINLINE __attribute__((noinline))

enum { BATCHES = 25, FUNCTIONS = 110, MAX = 256 };

static struct {
	uintptr_t lo, hi;
	uint32_t generation;
	uintptr_t pcs[MAX];
	void *ptrs[MAX];
	volatile uint64_t frames;
} self;

/* Stands in for collect/modules.c: a new generation misses every rule. */
uint32_t modules_generation(void);
uint32_t modules_generation(void)
{
	return self.generation;
}
uintptr_t modules_own_start, modules_own_size;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- the chain: distinct functions with different frames */

typedef void leaf_fn(void);
static int enter(int depth, leaf_fn *leaf);

#define FUNCTION(n)                                                                                \
	static NOINLINE int f##n(int depth, leaf_fn *leaf)                                         \
	{                                                                                          \
		volatile char pad[1 + n % 7 * 24];                                                 \
		int result;                                                                        \
                                                                                                   \
		pad[0] = (char)depth;                                                              \
		result = enter(depth, leaf);                                                       \
		return result * n + pad[0];                                                        \
	}
#define TEN(n)                                                                                     \
	FUNCTION(n##0)                                                                             \
	FUNCTION(n##1) FUNCTION(n##2) FUNCTION(n##3) FUNCTION(n##4) FUNCTION(n##5) FUNCTION(n##6)  \
		FUNCTION(n##7) FUNCTION(n##8) FUNCTION(n##9)
TEN(1)
TEN(2) TEN(3) TEN(4) TEN(5) TEN(6) TEN(7) TEN(8) TEN(9) TEN(10) TEN(11)
#define NAMES(n)                                                                                   \
	f##n##0, f##n##1, f##n##2, f##n##3, f##n##4, f##n##5, f##n##6, f##n##7, f##n##8, f##n##9
	static int (*const chain[FUNCTIONS])(int, leaf_fn *) = {
		NAMES(1), NAMES(2), NAMES(3), NAMES(4),	 NAMES(5),  NAMES(6),
		NAMES(7), NAMES(8), NAMES(9), NAMES(10), NAMES(11),
};

static inline __attribute__((always_inline)) int enter(int depth, leaf_fn *leaf)
{
	if (depth <= 0) {
		leaf();
		return 1;
	}
	return chain[depth - 1](depth - 1, leaf);
}

/* ---- the ways to walk */

static ucontext_t here;

static NOINLINE void ours(void)
{
	enum unwind_end end;

	self.frames += unwind_context(&here, self.lo, self.hi, self.pcs, MAX, &end);
	if (end != UNWIND_ROOT)
		abort();
}

static NOINLINE void ours_missing(void)
{
	self.generation++;
	ours();
}

/* libunwind.so has a backtrace() of its own, which a program linked with it gets. */
static int (*libc_backtrace)(void **, int);

static NOINLINE void glibc(void)
{
	self.frames += (uint64_t)libc_backtrace(self.ptrs, MAX);
}

static NOINLINE void libunwind_step(void)
{
	unw_cursor_t cursor;
	unw_word_t ip;

	unw_init_local2(&cursor, &here, UNW_INIT_SIGNAL_FRAME);
	do {
		unw_get_reg(&cursor, UNW_REG_IP, &ip);
		self.frames++;
	} while (unw_step(&cursor) > 0);
}

static NOINLINE void libunwind_fast(void)
{
	self.frames += (uint64_t)unw_backtrace(self.ptrs, MAX);
}

#ifdef __clang__
#define WITH_FRAME_POINTER
#else
#define WITH_FRAME_POINTER __attribute__((optimize("no-omit-frame-pointer")))
#endif

/* Right only because the caller of this chain is made of functions with frame pointers. */
static NOINLINE void frame_pointers(void)
{
	const uintptr_t *bp = (const uintptr_t *)__builtin_frame_address(0);
	uint32_t n = 0;

	while ((uintptr_t)bp >= self.lo && (uintptr_t)bp < self.hi - 16 && !((uintptr_t)bp & 7) &&
	       n < MAX) {
		const uintptr_t *next = (const uintptr_t *)bp[0];

		self.pcs[n++] = bp[1];
		if (next <= bp)
			break;
		bp = next;
	}
	self.frames += n;
}

static struct {
	void (*way)(void);
	unsigned walks;
	double ns;
	double frames;
} one;

static WITH_FRAME_POINTER NOINLINE void run_batch(void)
{
	double took[BATCHES];

	for (int b = 0; b < BATCHES; b++) {
		uint64_t start = now_ns();

		for (unsigned i = 0; i < one.walks; i++)
			one.way();
		took[b] = (double)(now_ns() - start) / one.walks;
	}
	one.ns = took[0];
	for (int b = 1; b < BATCHES; b++)
		if (took[b] < one.ns)
			one.ns = took[b];
}
static WITH_FRAME_POINTER NOINLINE void at_leaf(void)
{
	getcontext(&here);
	for (int i = 0; i < 100; i++)
		one.way();
	self.frames = 0;
	one.way();
	one.frames = (double)self.frames;
	run_batch();
}

static WITH_FRAME_POINTER NOINLINE int framed(int depth)
{
	volatile int mine = depth;

	if (depth == 0)
		at_leaf();
	else
		framed(depth - 1);
	return mine;
}

static void row(const char *name, void (*way)(void), unsigned walks, double *out_per_frame)
{
	static const int depths[] = {5, 10, 20, 50, 100};
	double ns[5], frames[5];

	for (int i = 0; i < 5; i++) {
		one.way = way;
		one.walks = walks;
		if (way == frame_pointers) {
			framed(depths[i]);
		} else {
			enter(depths[i], at_leaf);
		}
		ns[i] = one.ns;
		frames[i] = one.frames;
	}
	*out_per_frame = (ns[4] - ns[0]) / (frames[4] - frames[0]);
	printf("%-34s %8.0f %8.0f %8.0f %8.0f %8.0f %10.1f\n", name, ns[0], ns[1], ns[2], ns[3],
	       ns[4], *out_per_frame);
}

/* ---- painted stack */

enum { PAINTED = 65536 };
static unsigned char painted[PAINTED] __attribute__((aligned(64)));

static void handler_empty(int sig, siginfo_t *info, void *context)
{
}

static void handler_walk(int sig, siginfo_t *info, void *context)
{
	enum unwind_end end;

	self.frames += unwind_context(context, self.lo, self.hi, self.pcs, MAX, &end);
}

static void handler_unknown(int sig, siginfo_t *info, void *context)
{
	enum unwind_end end;

	self.frames += unwind_context(context, 0, 0, self.pcs, MAX, &end);
}

static void (*handler)(int, siginfo_t *, void *);

static void raise_it(void)
{
	struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
}

static long stack_used(void (*h)(int, siginfo_t *, void *))
{
	long clean = 0;

	handler = h;
	memset(painted, 0xa5, sizeof(painted));
	enter(60, raise_it);
	while (clean < PAINTED && painted[clean] == 0xa5)
		clean++;
	return PAINTED - clean;
}

int main(void)
{
	pthread_attr_t attr;
	void *lo;
	size_t size;
	double warm, miss, other;
	long used[4], cold, again, unknown;
	stack_t alternate = {.ss_sp = painted, .ss_size = sizeof(painted)};

	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstack(&attr, &lo, &size);
	self.lo = (uintptr_t)lo;
	self.hi = self.lo + size;
	libc_backtrace = (int (*)(void **, int))dlsym(dlopen("libc.so.6", RTLD_NOW), "backtrace");
	unwind_start();
	printf("%-34s %8s %8s %8s %8s %8s %10s\n", "ns per walk, by depth", "5", "10", "20", "50",
	       "100", "ns/frame");
	row("ours, warm", ours, 400, &warm);
	row("ours, every rule missing", ours_missing, 40, &miss);
	row("frame pointers (same depths)", frame_pointers, 1000, &other);
	row("glibc backtrace()", glibc, 40, &other);
	row("libunwind unw_step", libunwind_step, 10, &other);
	row("libunwind unw_backtrace", libunwind_fast, 400, &other);
	sigaltstack(&alternate, NULL);
	/* One call site: each has a PC of its own, which would be missing once. */
	for (int i = 0; i < 4; i++) {
		self.generation += i != 2;
		used[i] = stack_used(i == 0   ? handler_empty
				     : i == 3 ? handler_unknown
					      : handler_walk);
	}
	cold = used[1] - used[0];
	again = used[2] - used[0];
	unknown = used[3] - used[0];
	printf("handler stack beyond the kernel's frame: every rule missing %ld, warm %ld, unknown "
	       "bounds "
	       "%ld bytes\n",
	       cold, again, unknown);
	printf("targets: warm %.1f <= 12 ns/frame, miss %.1f <= 150 ns, stack %ld < 2048 bytes: "
	       "%s\n",
	       warm, miss, cold > unknown ? cold : unknown,
	       warm <= 12 && miss <= 150 && cold < 2048 && unknown < 2048 ? "reached"
									  : "NOT REACHED");
	return 0;
}
