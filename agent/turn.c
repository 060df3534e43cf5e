/* SPDX-License-Identifier: Apache-2.0 */
/* A lock on a futex: 0 free, 1 taken, 2 taken and somebody sleeps. */
#include "agent/turn.h"

#include <stdatomic.h>

#include "agent/base/sys.h"

enum { FREE, TAKEN, WAITED_FOR };

static _Atomic uint32_t word;

bool turn_take(uint64_t deadline_ns)
{
	uint32_t none = FREE;

	if (atomic_compare_exchange_strong(&word, &none, TAKEN))
		return true;
	while (atomic_exchange(&word, WAITED_FOR) != FREE) {
		uint64_t now = sys_clock_ns(CLOCK_MONOTONIC);
		uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
		struct timespec time = { (time_t)(left / 1000000000u), (long)(left % 1000000000u) };

		if (!left)
			return false;
		sys_futex_wait((const void *)&word, WAITED_FOR,
			       deadline_ns == UINT64_MAX ? NULL : &time);
	}
	return true;
}

void turn_give(void)
{
	if (atomic_exchange(&word, FREE) == WAITED_FOR)
		sys_futex_wake((const void *)&word, 1);
}

void turn_waiting(bool waits)
{
	if (waits)
		turn_give();
	else
		turn_take(UINT64_MAX);
}

void turn_child(void)
{
	atomic_store(&word, FREE);
}
