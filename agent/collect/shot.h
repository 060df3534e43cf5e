/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stack of a thread that runs: a one-shot timer on its CPU clock makes it take its own. The timer
 * counts only while the thread is on a processor, and fires on the processor's tick, so a thread that
 * has gone to sleep meanwhile is left alone: no call returns EINTR because of it (hazard E4).
 */
#ifndef COLLECT_SHOT_H
#define COLLECT_SHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/collect/threads.h"

/* One thread's timer. Zeroed: none. The agent's own state, not the thread's. */
struct shot {
	struct thread *thread;
	uint32_t tag;	/* of the thread: a record may pass to another one */
	uint32_t before; /* the thread's count when it was armed */
	int id;		/* the kernel's timer id */
	bool made, armed;
};

/* Asks the thread for its stack. The signal is held (cpu_signal_enter). false, counted: the kernel
 * gives no timer. Context: agent. */
bool shot_arm(struct shot *shot, struct thread *thread, int tid, int sig);

/* Its answer; NULL: none yet. Afterwards the shot can be armed anew. Context: agent. */
const struct stack *shot_answer(struct shot *shot);

/* Takes the timer away. Context: agent. */
void shot_drop(struct shot *shot);

/* The interrupted thread's part. Context: signal. */
void shot_on_signal(uint32_t index, const void *ucontext);

#endif
