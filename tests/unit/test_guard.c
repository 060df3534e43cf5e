/* SPDX-License-Identifier: Apache-2.0 */
/* The guard of a thread: up for whatever lies deeper on its stack, found out when what raised it is gone. */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

#include "agent/base/stats.h"
#include "agent/base/tls.h"
#include "tests/unit/test.h"

static sigjmp_buf back;
static volatile int deep, in_handler;

static int left(void)
{
	return (int)stat_values[STAT_GUARD_LEFT];
}

static void know_the_stack(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	tls.stack_lo = here - (1 << 20);
	tls.stack_hi = here + (1 << 16);
}

static __attribute__((noinline)) void nested(void)
{
	deep = guard_enter();
	if (deep)
		guard_leave();
}

static __attribute__((noinline)) void raises(void (*meanwhile)(void))
{
	CHECK(guard_enter());
	meanwhile();
	guard_leave();
}

static void jumps(void)
{
	siglongjmp(back, 1);
}

static void raises_a_signal(void)
{
	raise(SIGUSR1);
}

static void on_usr1(int sig)
{
	in_handler = guard_enter();
	if (in_handler)
		guard_leave();
}

static __attribute__((noinline)) int raise_at_once(void)
{
	int up = guard_enter();

	if (up)
		guard_leave();
	return up;
}

TEST(guard_is_up_below_its_frame)
{
	know_the_stack();
	for (int i = 0; i < 3; i++) {
		deep = -1;
		raises(nested);
		CHECK_INT(deep, 0);
		CHECK_INT(tls.guard, GUARD_DOWN);
	}
	CHECK_INT(left(), 0);
}

TEST(guard_left_by_a_jump_is_found_out)
{
	know_the_stack();
	for (volatile int i = 0; i < 5; i++) {
		if (sigsetjmp(back, 1) == 0)
			raises(jumps);
		CHECK(tls.guard);
		/* from the same place again, and from a place that is less deep */
		if (i % 2)
			raises(nested);
		else
			CHECK_INT(raise_at_once(), 1);
		CHECK_INT(tls.guard, GUARD_DOWN);
		CHECK_INT(left(), i + 1);
	}
}

TEST(guard_without_bounds_is_never_judged)
{
	tls.stack_lo = tls.stack_hi = 0;
	if (sigsetjmp(back, 1) == 0)
		raises(jumps);
	CHECK_INT(raise_at_once(), 0);
	guard_leave();
}

/* A piece of the thread's own stack, less deep than all that runs: no reason to think that the guard was left. */
TEST(guard_and_an_alternate_stack_on_the_own_stack)
{
	char room[1 << 16] __attribute__((aligned(16)));
	struct sigaction act = { .sa_handler = on_usr1, .sa_flags = SA_ONSTACK };
	stack_t stack = { .ss_sp = room, .ss_size = sizeof(room) };

	know_the_stack();
	tls.stack_hi = (uintptr_t)(room + sizeof(room)) + (1 << 12);
	CHECK_INT(sigaltstack(&stack, NULL), 0);
	CHECK_INT(sigaction(SIGUSR1, &act, NULL), 0);
	in_handler = -1;
	raises(raises_a_signal);
	CHECK_INT(in_handler, 0);
	CHECK_INT(left(), 0);
}

/* The sampling handler judges by what it interrupted. */
TEST(guard_in_the_sampling_signal)
{
	stack_t none = { .ss_flags = SS_DISABLE }, whole = { 0 };
	uintptr_t here;

	know_the_stack();
	here = (uintptr_t)__builtin_frame_address(0);
	whole.ss_sp = (void *)tls.stack_lo;
	whole.ss_size = tls.stack_hi - tls.stack_lo;
	CHECK(guard_enter_in_signal(here - 4096, &none));
	guard_leave();
	tls.guard = guard_place(here - 4096);
	CHECK(!guard_enter_in_signal(here - 4104, &none));
	CHECK(!guard_enter_in_signal(here - 4096, &whole));
	CHECK(guard_enter_in_signal(here - 4096, &none));
	guard_leave();
	/* raised by a handler of ours on an alternate stack, that never came back */
	tls.guard = (uint32_t)GUARD_IN_SIGNAL;
	CHECK(guard_enter_in_signal(here - (1 << 19), &none));
	guard_leave();
	CHECK_INT(left(), 2);
	guard_forever();
	CHECK(!guard_enter_in_signal(here, &none));
}
