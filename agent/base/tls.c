/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/tls.h"

#include <stddef.h>

#include "agent/base/stats.h"
#include "agent/base/sys.h"

TLS struct thread_tls tls;

/* Frames of one stack that live at the same time lie apart, the later ones deeper. So whoever is not deeper than
 * the frame that raised the guard runs after it has gone. A handler of ours on an alternate stack keeps all of the
 * thread's own stack waiting. */
static bool is_behind(uintptr_t at)
{
	uint32_t place = guard_place(at);

	return place >= GUARD_LEAST && place <= tls.guard;
}

static COLD void lower(void)
{
	tls.flags |= TLS_LEFT;
	stat_add(STAT_GUARD_LEFT, 1);
	tls.guard = GUARD_DOWN;
}

COLD bool guard_was_left(uintptr_t at)
{
	stack_t now = { .ss_flags = SS_ONSTACK };

	if (!is_behind(at))
		return false;
	/* an alternate stack may be a piece of the thread's own */
	if (SYS2(SYS_sigaltstack, NULL, &now) != 0 || now.ss_flags & SS_ONSTACK)
		return false;
	lower();
	return true;
}

bool guard_enter_in_signal(uintptr_t sp, const stack_t *alternate)
{
	uint32_t place = guard_place((uintptr_t)__builtin_frame_address(0));

	if (tls.guard) {
		if (sp - (uintptr_t)alternate->ss_sp < alternate->ss_size || !is_behind(sp))
			return false;
		lower();
	}
	tls.guard = place == GUARD_UP ? (uint32_t)GUARD_IN_SIGNAL : place;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return true;
}
