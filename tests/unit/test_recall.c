/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stacks that are not walked again: whatever way the program comes to the same place, it is the stack that a walk
 * finds. The ways are drawn: functions of several kinds of frames, some of whose callers differ
 * only far up, by one return address, or by a base pointer.
 */
#include <alloca.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "agent/base/tls.h"
#include "agent/collect/modules.h"
#include "agent/collect/recall.h"
#include "agent/collect/record.h"
#include "agent/collect/stacks.h"
#include "agent/collect/unwind.h"
#include "tests/unit/test.h"
#include "tests/unit/walk.h"

enum { PCS = 128, WAYS = 60, THREADS = 4 };

static __thread struct {
	uint64_t way;	   /* what is left of the decisions */
	uint64_t rounds, walked, nested;
	const struct stack *last;
} own;
static _Atomic uint64_t all_rounds, all_walked;

static const struct stack *walk_again(const struct unwind_regs *from)
{
	uintptr_t pcs[PCS];
	enum unwind_end end;
	uint32_t n = unwind_from(from, tls.stack_lo, tls.stack_hi, pcs, PCS, &end);

	CHECK_INT(end, UNWIND_ROOT);
	return stacks_intern(pcs, n, modules_generation());
}

static NOINLINE void look_from(const struct unwind_regs *from, const void *wrong)
{
	CHECK(recall_may(from));
	own.walked += recall_find(from, NULL, modules_generation()) == NULL;
	CHECK(recall_find(from, NULL, modules_generation() + 1) == NULL);
	CHECK(recall_find(from, wrong, modules_generation()) == NULL);
	own.last = record_from(from, NULL);
	CHECK(own.last == walk_again(from));
	own.rounds++;
}

/* Saves no register: the frame above it is found by those that are captured. */
static NOINLINE void look(void)
{
	struct unwind_regs from;

	record_capture(&from);
	look_from(&from, look);
	STAY();
}

static void go(int depth);

/* One of n. */
static unsigned choose(unsigned n)
{
	unsigned which = (unsigned)(own.way % n);

	own.way /= n;
	return which;
}

static NOINLINE void small(int depth)
{
	go(depth);
	STAY();
}

/* Two places from which the same is called: only the return address differs. */
static NOINLINE void two_calls(int depth)
{
	void (*volatile to)(int) = go;

	if (choose(2)) {
		to(depth);
		__asm__ volatile("nop");
	} else {
		to(depth);
		STAY();
	}
	STAY();
}

static NOINLINE void large(int depth)
{
	volatile char room[1000];

	room[0] = 0;
	go(depth);
	STAY();
	(void)room[0];
}

/* A frame that is found by its base pointer, at one of three distances. */
static NOINLINE void any_size(int depth)
{
	volatile char *room = alloca(16 + 48 * choose(3));

	room[0] = 0;
	go(depth);
	STAY();
}

/* The stack is aligned anew, and the old one kept in a register. */
static NOINLINE void aligned_to_64(int depth)
{
	volatile _Alignas(64) char room[64];
	volatile char *more = alloca(16 + 64 * choose(2));

	room[0] = more[0] = 0;
	go(depth);
	STAY();
	(void)room[0];
}

static NOINLINE void through_pointer(int depth)
{
	void (*volatile to)(int) = choose(2) ? small : two_calls;

	to(depth);
	STAY();
}

static void handler(int sig)
{
	own.nested++;
	look();
}

static NOINLINE void through_signal(int depth)
{
	if (depth == 0)
		raise(SIGUSR1);
	go(depth);
	STAY();
}

static NOINLINE void go(int depth)
{
	static void (*const ways[])(int) = { small,	    two_calls,	     large,	     any_size,
					     aligned_to_64, through_pointer, through_signal, two_calls };

	if (depth == 0)
		look();
	else
		ways[choose(8)](depth - 1);
	STAY();
}

static void *wander(void *rounds)
{
	uint64_t ways[WAYS], seed = (uint64_t)(uintptr_t)rounds;

	walk_stack(&tls.stack_lo, &tls.stack_hi);
	for (int i = 0; i < WAYS; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		ways[i] = seed >> 5;
	}
	for (uintptr_t i = 0; i < (uintptr_t)rounds; i++) {
		int which;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		which = (int)((seed >> 33) % WAYS);
		own.way = ways[which];
		go(3 + which % 9);
		/* and one that nobody came before */
		own.way = seed >> 7;
		if (i % 8 == 0)
			go(12);
	}
	all_rounds += own.rounds;
	all_walked += own.walked;
	return NULL;
}

TEST(recall_is_what_a_walk_finds)
{
	const struct sigaction action = { .sa_handler = handler };
	pthread_t threads[THREADS];

	sigaction(SIGUSR1, &action, NULL);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK_INT(pthread_create(&threads[i], NULL, wander, (void *)(40000 + i)), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK(all_rounds >= THREADS * 40000);
	/* the new ones, a ninth, and those with a frame that needs more than the quick rules */
	CHECK(all_walked < all_rounds * 3 / 4);
	CHECK(all_walked > all_rounds / 20);
}

extern char __start_own_code[], __stop_own_code[];

static NOINLINE __attribute__((section("own_code"))) const struct stack *recalled(bool *out_found)
{
	struct unwind_regs from;
	const struct stack *stack;

	record_capture(&from);
	*out_found = recall_may(&from) && recall_find(&from, NULL, modules_generation()) != NULL;
	stack = record_from(&from, NULL);
	CHECK(stack == walk_again(&from));
	return stack;
}

/* The same way three times, from one and the same call. */
static NOINLINE void three_times(void)
{
	const struct stack *first = NULL;

	walk_stack(&tls.stack_lo, &tls.stack_hi);
	for (volatile int i = 0; i < 3; i++) {
		bool found;
		const struct stack *stack = recalled(&found);

		CHECK_INT(found, i > 0);
		CHECK(!first || stack == first);
		first = stack;
	}
}

TEST(recall_of_the_second_time)
{
	three_times();
}

/* Frames of this library are told apart too, though they are in no stack. */
TEST(recall_with_own_frames)
{
	modules_own_start = (uintptr_t)__start_own_code;
	modules_own_size = (uintptr_t)(__stop_own_code - __start_own_code);
	CHECK(modules_is_own((uintptr_t)recalled) && !modules_is_own((uintptr_t)three_times));
	three_times();
}

/* A frame found by the base pointer, which `from` has as it is (look) or as it was saved (look_and_save). */
static NOINLINE void look_and_save(void)
{
	volatile char *room = alloca(16 + (size_t)(own.rounds % 1));

	room[0] = 0;
	look();
	STAY();
}

static NOINLINE void inner(size_t size, void (*leaf)(void))
{
	volatile char *room = alloca(size);

	room[0] = 0;
	leaf();
	STAY();
}

/* Two functions that differ in nothing but their addresses, and a nop that keeps compilers from making them one. */
static NOINLINE void outer(size_t size, size_t both, void (*leaf)(void))
{
	volatile char *room = alloca(size);

	room[0] = 0;
	inner(both - size, leaf);
	STAY();
}

static NOINLINE void another(size_t size, size_t both, void (*leaf)(void))
{
	volatile char *room = alloca(size);

	room[0] = 0;
	inner(both - size, leaf);
	__asm__ volatile("nop");
}

/* The second frame ends where the first one did, so that all return addresses of the first stand where they were:
 * one of them only as what is left in a place that nobody wrote to. The base pointer tells. */
TEST(recall_of_what_is_left)
{
	static void (*const leaves[])(void) = { look, look_and_save };

	walk_stack(&tls.stack_lo, &tls.stack_hi);
	for (int i = 0; i < 2; i++) {
		const struct stack *first = NULL;

		/* one call for all, so that nothing else tells them apart */
		for (volatile int turn = 0; turn < 3; turn++) {
			void (*volatile to)(size_t, size_t, void (*)(void)) = turn < 2 ? outer : another;

			to(turn < 2 ? 32 : 992, 1024, leaves[i]);
			CHECK_INT(own.walked, 2 * i + (turn < 2 ? 1 : 2));
			CHECK(turn == 0 || (own.last == first) == (turn == 1));
			first = own.last;
		}
	}
}

/* On a stack that is not the thread's own nothing is remembered. */
TEST(recall_elsewhere)
{
	bool found;

	walk_stack(&tls.stack_lo, &tls.stack_hi);
	for (int i = 0; i < 3; i++) {
		uintptr_t hi = tls.stack_hi;
		struct unwind_regs from;

		tls.stack_hi = tls.stack_lo + 4096;
		record_capture(&from);
		CHECK(!recall_may(&from));
		tls.stack_hi = hi;
		recalled(&found);
		STAY();
	}
	unwind_before_close();
	recalled(&found);
	CHECK(!found);
	unwind_after_close();
}

enum { ROOM = 256 << 10 };
static ucontext_t back, inside;
static volatile size_t size_below;

static NOINLINE void below(void)
{
	inner(size_below, look);
	STAY();
}

/* A coroutine whose stack is a piece of the thread's own, below a page that is locked away: the way to an entry
 * reads no further than the frames go, however large they were the last time. */
TEST(recall_below_a_hole)
{
	char *room = mmap(NULL, 2 * ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(room != MAP_FAILED);
	unwind_start();
	walk_stack(&tls.stack_lo, &tls.stack_hi);
	size_below = ROOM / 2;
	below();
	CHECK_INT(own.walked, 1);

	tls.stack_lo = (uintptr_t)room;
	tls.stack_hi = (uintptr_t)room + 2 * ROOM;
	size_below = 32;
	CHECK_INT(mprotect(room + ROOM, ROOM, PROT_NONE), 0);
	CHECK_INT(getcontext(&inside), 0);
	inside.uc_stack.ss_sp = room;
	inside.uc_stack.ss_size = ROOM;
	inside.uc_link = &back;
	makecontext(&inside, below, 0);
	CHECK_INT(swapcontext(&back, &inside), 0);
	CHECK_INT(own.rounds, 2);
	munmap(room, 2 * ROOM);
}
