/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stacks from a copy: registers and stack bytes that were read from a thread which has run on
 * since. libunwind does it where it is installed, through its remote interface with accessors of
 * our own: it never touches the thread, takes no lock of the loader and opens nothing. Where it is
 * not installed, and where it does not reach a root, our own walker follows the copy.
 */
#ifndef COLLECT_UNWIND_REMOTE_H
#define COLLECT_UNWIND_REMOTE_H

#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "agent/collect/unwind.h"
#include "unwind_regs.h"

/* What was read of a thread. The copy should begin at its stack pointer, or better 128 bytes below
 * it (the red zone) when the thread was interrupted in its own code. Both ends aligned to 8. */
struct unwind_snapshot {
	struct unwind_regs regs; /* filled by one of the two functions below */
	uintptr_t stack_base;	 /* address, in the thread, of the first byte of the copy */
	const void *stack;
	size_t stack_size;
};

/* All registers are known, from a signal frame. Context: agent. */
void unwind_snapshot_context(struct unwind_snapshot *snapshot, const ucontext_t *context);

/* Only these two are, from /proc: the thread sleeps in a system call. Context: agent. */
void unwind_snapshot_asleep(struct unwind_snapshot *snapshot, uintptr_t pc, uintptr_t sp);

/* The stack, leaf first, as unwind_context gives it. Where a frame needs a register that is not
 * known, its caller is searched for; if that fails, out_end is UNWIND_REGISTER. Context: agent. */
uint32_t unwind_remote(const struct unwind_snapshot *snapshot, uintptr_t *pcs, uint32_t max,
		       enum unwind_end *out_end);

/* Loads libunwind, once, with dlopen: allocates through the target's malloc and takes the loader's lock, so
 * before main and never from a request. 0, or -ENOENT: our own walker does it all. Context: init. */
int unwind_remote_load(void);

/* Sets it up: opens two descriptors, so in the agent's own table. As above. Context: agent. */
int unwind_remote_start(void);

/* "libunwind-x86_64.so.8" or why it is not used. Context: any. */
const char *unwind_remote_status(void);

/* A forked child goes on without libunwind when the fork found it at work: its locks may be held by
 * a thread that does not exist here. Context: child. */
void unwind_remote_child(void);

#endif
