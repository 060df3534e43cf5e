/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals whose default action ends the process, watched so that something can be done first, and the
 * one by which a person asks for something. Only while the program leaves the default in force: its
 * own handlers and SIG_IGN are installed as they are, and wherever it asks, it is told SIG_DFL. A
 * death stays one by the same signal.
 */
#ifndef COLLECT_DEATHS_H
#define COLLECT_DEATHS_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/attr.h"

/* The real sigaction, because hooks/ lies above. dies: called in the handler, once per process, before the
 * default action follows. asked: called in the handler of a signal that does not kill. Context: init. */
void deaths_start(int (*real_sigaction)(int, const struct sigaction *, struct sigaction *),
		  void (*dies)(int sig), void (*asked)(void));

/* Watches one signal; fatal: the process dies of it. false: the program does not leave it at its default,
 * and it is watched from the moment that it does. Context: init. */
bool deaths_watch(int sig, bool fatal);

/* Is it our handler that would run now? Context: agent. */
bool deaths_has(int sig);

extern _Atomic uint64_t deaths_watched HIDDEN; /* bit sig - 1 */

/* Context: hook. */
static inline bool deaths_watches(int sig)
{
	return sig > 0 && sig <= 64 &&
	       (atomic_load_explicit(&deaths_watched, memory_order_relaxed) >> (sig - 1) & 1);
}

/* sigaction(2) of a watched signal, as the program sees it. Context: hook. */
int deaths_action(int sig, const struct sigaction *act, struct sigaction *old);

/* Context: child. */
void deaths_child(void);

#endif
