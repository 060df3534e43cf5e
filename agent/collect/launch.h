/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pthread_create's and thrd_create's work: the program's routine and argument are replaced by ours, so that a
 * new thread has its record before it runs anything of the program.
 */
#ifndef COLLECT_LAUNCH_H
#define COLLECT_LAUNCH_H

#include <stddef.h>

struct stack;
struct thread_launch;

/* stack_size: of the new thread's stack, 0 when not known. by: the stack of the creator. Returns the block to
 * pass on, NULL when out of memory (then the caller creates the thread untouched, counted).
 * launch_abandon gives the block back when the real call failed. Context: hook. */
struct thread_launch *launch_new(void *(*routine)(void *), void *arg, size_t stack_size, const struct stack *by);
void *launch_run(void *launch); /* the routine to pass on */
void launch_abandon(struct thread_launch *launch);

/* Context: child. */
void launch_child(void);

#endif
