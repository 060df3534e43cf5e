/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Profiles of programs that end before anybody asks: PPROF_OUTPUT. CPU samples are taken from start to
 * end, and the profiles are written at exit, before exec, before the default death by a signal, at
 * PPROF_DUMP_SIGNAL, and every PPROF_OUTPUT_EVERY seconds.
 *
 * Whoever ends the process writes, in its own thread, on a stack of ours, with its signals blocked,
 * holding the turn (agent/turn.h), for at most PPROF_OUTPUT_SECONDS. Nothing of libc's is called and
 * none of its locks is waited for, so that it does not matter what the program was doing: it may be
 * inside malloc, or inside one of our hooks.
 */
#ifndef AGENT_OUTPUT_H
#define AGENT_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

/* Somebody wants to know how this process ends. Context: any. */
bool output_on(void);

/* Only with PPROF_OUTPUT or PPROF_SD_DIR: makes the directory, begins sampling, arranges to be told of the end.
 * Context: init, before main. */
void output_start(void);

/* The start is complete: from here on the end may come. Context: init. */
void output_started(void);

/* What is due now; returns the time (CLOCK_MONOTONIC) to be called again at. Context: agent. */
uint64_t output_tick(uint64_t now_ns);

/* The agent's thread is about to end the process, because no other is left. It holds the turn.
 * Context: agent. */
void output_at_last(void);

/* Context: child. */
void output_child(void);

#endif
