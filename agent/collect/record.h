/* SPDX-License-Identifier: Apache-2.0 */
/* A walk and its storing in one: what every sampler calls once it has decided to take a sample. */
#ifndef COLLECT_RECORD_H
#define COLLECT_RECORD_H

#include <stdint.h>

#include "agent/base/attr.h"
#include "agent/collect/frames.h"
#include "agent/collect/threads.h"
#include "unwind_regs.h"

struct stack;

/* The stack of an interrupted context of this thread. The guard is up. Context: signal. */
const struct stack *record_context(const void *ucontext, const struct thread *thread);

/* The stack behind a frame of the agent, which `from` was captured in and which has not returned. leaf: one more
 * frame before it, the function that the program called, whose hook this is; or NULL. The guard is up.
 * Context: hook. */
const struct stack *record_from(const struct unwind_regs *from, const void *leaf);

/* The registers of the function that calls this. Context: hook. */
INLINE void record_capture(struct unwind_regs *out)
{
	arch_capture(out->reg);
	out->known = ARCH_KNOWN_CAPTURED;
}

/* The stack of the caller of a hook. Context: hook. */
INLINE const struct stack *record_here_at(const void *leaf)
{
	struct unwind_regs from;

	record_capture(&from);
	return record_from(&from, leaf);
}

/* The stack of a copy. Context: agent. */
struct unwind_snapshot;
const struct stack *record_copy(const struct unwind_snapshot *copy);

/* A stack of one mark. Context: signal, hook, agent. */
const struct stack *record_mark(enum frame_mark mark);

/* Deeper stacks are cut and end in [truncated]. Context: init. */
void record_set_depth(uint32_t max_frames);

/* Frees the buffers of threads that do not exist here. Context: child. */
void record_child(void);

#endif
