/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/collect/altstack.h"

#include <stddef.h>

#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/base/tls.h"
#include "agent/collect/threads.h"

/* Room for the kernel's frame with every register extension of today (11 KiB with AMX), our handler,
 * and a program's handler that finds itself on it. Pages are only taken when they are used. */
enum { SIZE = 64 << 10 };

static bool on = true;

void altstack_set(bool enable)
{
	on = enable;
}

void *altstack_enter(void)
{
	stack_t now, ours = { .ss_size = SIZE };

	if (!on || SYS2(SYS_sigaltstack, NULL, &now) != 0 || !(now.ss_flags & SS_DISABLE))
		return NULL;
	/* not charged to the budget: it is the thread's, as its own stack is */
	ours.ss_sp = sys_map(SIZE);
	if (!ours.ss_sp) {
		stat_add(STAT_ALTSTACK_FAIL, 1);
		return NULL;
	}
	if (SYS2(SYS_sigaltstack, &ours, NULL) == 0)
		return ours.ss_sp;
	sys_unmap(ours.ss_sp, SIZE);
	return NULL;
}

bool altstack_is_ours(void)
{
	const struct thread *thread = tls.thread;
	stack_t now;

	return thread && thread->altstack && SYS2(SYS_sigaltstack, NULL, &now) == 0 &&
	       now.ss_sp == thread->altstack;
}

void altstack_leave(void *stack)
{
	stack_t now, none = { .ss_flags = SS_DISABLE };

	if (!stack || SYS2(SYS_sigaltstack, NULL, &now) != 0)
		return;
	/* the program may have put its own in our place, or run its destructors on ours */
	if (now.ss_flags & SS_ONSTACK)
		return;
	if (now.ss_sp == stack && SYS2(SYS_sigaltstack, &none, NULL) != 0)
		return;
	sys_unmap(stack, SIZE);
}
