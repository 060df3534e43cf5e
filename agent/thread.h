/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's one thread: how it is made, what keeps it apart from the program, and what it does in
 * turn for as long as the process lives.
 */
#ifndef AGENT_THREAD_H
#define AGENT_THREAD_H

/* Starts it. With n > 0: waits until it has taken fds[0..n), at most 4, into a descriptor table of its
 * own, in which they keep their numbers; whatever is returned, the caller then closes them in the
 * program's. 0, or an errno: EPERM when the kernel gives it no such table. Failures are said in
 * the log. Context: init, hook. */
int agent_thread_start(const int *fds, unsigned n);

/* The last thread that is counted ends, the caller, and others live on. Context: hook. */
void agent_thread_after_last(void);

/* Around fork, in the process that forks. Context: hook. */
void agent_thread_before_fork(void);
void agent_thread_after_fork(void);

/* Context: child. */
void agent_thread_child(void);

#endif
