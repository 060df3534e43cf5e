/* SPDX-License-Identifier: Apache-2.0 */
/* A walk and its storing in one: what every sampler calls once it has decided to take a sample. */
#ifndef COLLECT_RECORD_H
#define COLLECT_RECORD_H

#include <stdint.h>

#include "agent/collect/frames.h"
#include "agent/collect/threads.h"

struct stack;

/* The stack of an interrupted context of this thread. The guard is up. Context: signal. */
const struct stack *record_context(const void *ucontext, const struct thread *thread);

/* The stack of the caller of a hook. The guard is up. Context: hook. */
const struct stack *record_here(void);

/* The same with one more frame as its leaf: the function that the program called, whose hook this is.
 * Context: hook. */
const struct stack *record_here_at(const void *leaf);
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
