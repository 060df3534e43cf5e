/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An alternate signal stack for threads that have none, so that a sample that hits a coroutine on a
 * stack of a few KiB does not write past its end: the kernel's own frame takes 3 KiB and more (hazard
 * C3). Never replaces one that the program has set. PPROF_ALTSTACK=0 switches it off.
 */
#ifndef COLLECT_ALTSTACK_H
#define COLLECT_ALTSTACK_H

#include <stdbool.h>

/* Context: init. */
void altstack_set(bool on);

/* For the calling thread; what it returns goes to altstack_leave when the thread ends. NULL: the
 * thread has its own, or there is no memory (counted). Context: init, hook. */
void *altstack_enter(void);

/* The calling thread's alternate stack is one of ours. Context: hook. */
bool altstack_is_ours(void);

void altstack_leave(void *stack);

#endif
