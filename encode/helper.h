/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that reads debug information for us, pprofagent-symbolize: a broken file, 200 MB of DWARF or
 * a fault in its reader must never cost the program memory or life.
 *
 * It is started through a keeper, a task that shares our memory and executes nothing: its exit signal is
 * none, so that no wait() of the program sees it (except with __WALL), and it is the symbolizer's parent,
 * which execve would otherwise give back its SIGCHLD. Both die with the agent's thread. What the
 * symbolizer gets of ours is a pair of pipes: no other descriptor, no environment.
 *
 * Context: agent, unless said otherwise.
 */
#ifndef ENCODE_HELPER_H
#define ENCODE_HELPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum helper_state {
	HELPER_READY,
	HELPER_WAIT, /* the one before is ending: try again in some milliseconds */
	HELPER_NONE, /* cannot be had: helper_why() */
};

/* Remembers which system call filters are in force: a program that locks itself in later is not to be
 * killed for a clone of ours. Context: init. */
void helper_begin(void);

/* Starts it unless it runs. */
enum helper_state helper_start(void);

/* Why it cannot be had: one sentence, "" before the first failure. */
const char *helper_why(void);

/* "pid N", "not running", or why it cannot be had. */
void helper_describe(char *buf, size_t size);

/* To be polled for input; -1: none. */
int helper_fd(void);

/* Bytes passed on; 0: not now; -errno: it is gone, helper_stop() is due. */
long helper_send(const void *data, size_t size);
long helper_receive(void *buf, size_t size);

/* Ends it. failed: it is gone, or did not answer as it should: at once then. */
void helper_stop(bool failed);

/* Tells one process from the next. */
unsigned helper_number(void);

/* Ends it when nobody used it for a while, and sees to it that nothing is left of those that ended. When to
 * call again (CLOCK_MONOTONIC), UINT64_MAX: never. */
uint64_t helper_tend(uint64_t now_ns);

/* It is a child of another process. Context: child. */
void helper_child(void);

#endif
