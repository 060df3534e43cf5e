/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this process is to the agent, and the one thing that hooks must tell it about: a forked child
 * that lives on. Such a child starts its agent from a hook on an ordinary thread, never in fork
 * itself: at once when it made itself a server (setsid, daemon), else 200 ms after the fork, so that
 * fork+exec children never start one (hazards D4, D5).
 */
#ifndef COLLECT_PROCESS_H
#define COLLECT_PROCESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/attr.h"

enum process_role {
	PROCESS_EARLY,	/* the constructor has not run: hooks forward */
	PROCESS_OFF,	/* not ours to look at: hooks forward for ever */
	PROCESS_TARGET, /* profiled */
};

/* Read-only outside process.c. */
extern _Atomic int process_pending HIDDEN; /* a start is due: enum below */
enum { PENDING_NONE, PENDING_LATER, PENDING_NOW };

/* Context: any. */
enum process_role process_role(void);
static inline bool process_is_target(void)
{
	return process_role() == PROCESS_TARGET;
}

/* `start` starts the agent in a forked child; called with the guard up, at most once per process.
 * Context: init. */
void process_set(enum process_role role, void (*start)(void));

/* `start` is due when this process has lived for a while, as in a forked child. Context: init. */
void process_start_later(void);

/* Starts the agent if one is due and its time has come. Cheap when process_pending is 0; call it
 * only from places where a thread may be created. Context: hook. */
void process_poke(void);

/* The process became, or is about to become, a server of its own. Context: hook. */
void process_on_setsid(void);

/* After fork returned in the child, and after a daemon() that succeeded. Context: hook. */
void process_after_fork(void);

/* This process is about to fork. Context: hook. */
void process_before_fork(void);

/* This process has forked: the next fork child after setsid has had its turn. Context: hook. */
void process_forked(void);

/* The process that forked us is gone; this one called setsid or daemon itself. Context: agent. */
bool process_is_orphan(void);
bool process_is_server(void);

/* Forked child: everything here is reset. Context: child. */
void process_child(void);

/* From now on process_is_stray() tells. Once per program: forked children inherit it. Context: init. */
void process_find_strays(void);

/* True in a child of a fork that ran no fork handlers: locks may be held by threads that do not exist, so
 * hooks that would take one forward instead (hazard D2). Context: hook. */
bool process_is_stray(void);

/* Number of forks between the process that was exec'ed and this one. Context: any. */
unsigned process_generation(void);

#endif
