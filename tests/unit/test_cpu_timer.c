/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/collect/cpu_timer.h"
#include "agent/collect/threads.h"
#include "tests/unit/test.h"

enum { SESSION = 5, PERIOD = 10 };

/* First expiry at 10, then every 10 ns. The timer's id is none of the kernel's. */
static struct thread running(void)
{
	return (struct thread){ .timer = { .account = (uint64_t)SESSION << 32, .id = 1 << 30, .first_ns = 10 } };
}

TEST(cpu_timer_books_each_period_once)
{
	struct thread t = running();

	CHECK(cpu_timer_runs(&t, SESSION) && !cpu_timer_runs(&t, SESSION + 1));
	CHECK_INT(cpu_timer_delivered(&t, SESSION, 1), 1);
	/* four are due, one was delivered */
	CHECK_INT(cpu_timer_catch_up(&t, SESSION, 45, PERIOD), 3);
	CHECK_INT(cpu_timer_catch_up(&t, SESSION, 49, PERIOD), 0);
	/* those three come, late, and one more with the last of them */
	CHECK_INT(cpu_timer_delivered(&t, SESSION, 1), 0);
	CHECK_INT(cpu_timer_delivered(&t, SESSION, 3), 1);
	/* ten are due, five booked */
	CHECK_INT(cpu_timer_settle(&t, SESSION, 105, PERIOD), 5);
	CHECK_INT(cpu_timer_settle(&t, SESSION, 205, PERIOD), 0);
	CHECK_INT(cpu_timer_delivered(&t, SESSION, 1), 0);
	CHECK(!cpu_timer_runs(&t, SESSION));
}

TEST(cpu_timer_books_nothing_of_another_session)
{
	struct thread t = running();

	CHECK_INT(cpu_timer_delivered(&t, SESSION - 1, 7), 0);
	CHECK_INT(cpu_timer_delivered(&t, 0, 7), 0);
	CHECK_INT(cpu_timer_catch_up(&t, SESSION - 1, 1000, PERIOD), 0);
	CHECK_INT(cpu_timer_settle(&t, SESSION - 1, 1000, PERIOD), 0);
	CHECK_INT(cpu_timer_delivered(&t, SESSION, 2), 2);
}

TEST(cpu_timer_of_a_thread_that_used_nothing_owes_nothing)
{
	struct thread t = running();

	CHECK_INT(cpu_timer_catch_up(&t, SESSION, 9, PERIOD), 0);
	/* delivered before its time by the clock that was read: booked, and nothing is owed for it */
	CHECK_INT(cpu_timer_delivered(&t, SESSION, 1), 1);
	CHECK_INT(cpu_timer_settle(&t, SESSION, 11, PERIOD), 0);
}
