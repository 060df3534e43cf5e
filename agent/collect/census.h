/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many threads are left, and whether the process is to end: the agent's own thread keeps it alive for
 * libc, so whoever is the last of the program must end it (hazard G2). Main counts from the start, others from
 * before they run; threads that libc made for itself (timers, aio) are not counted, and neither are those for
 * which there was no memory: while some may be left, /proc is looked at.
 */
#ifndef COLLECT_CENSUS_H
#define COLLECT_CENSUS_H

#include <stdbool.h>
#include <stdint.h>

/* Live application threads, and created ever. Context: any. */
uint64_t census_live(void);
uint64_t census_created(void);

/* A thread will be created; it was not, after all. Context: hook. */
void census_add(void);
void census_take_back(void);

/* A thread runs that is not counted; the caller is counted and its end will not be seen. Context: init, hook. */
void census_uncounted(void);
void census_lost(void);

/* A counted thread ends, the caller. True: it was the last. Context: hook. */
bool census_ended_last(void);

/* Behind that: are only the agent's left? It may take 200 ms, since threads that have ended for us take a moment to leave
 * the kernel. False: there are others, threads that libc made for itself (aio, names) or that there was no memory
 * to count. Context: hook. */
bool census_alone_soon(void);

/* The calling thread is the agent's own: not counted, not profiled; it ends. Context: agent. */
void census_agent_begins(void);
void census_agent_ends(void);

/* From now on the agent's own thread looks for the end of the others; does it? Context: agent, hook. */
void census_watch_begins(void);
bool census_watch(void);
/* All threads that we count have ended, and no others live. Context: agent. */
bool census_only_agents(void);
/* All that we count have ended, and nothing says whether others live: /proc cannot be read and some were not counted.
 * Then our threads must end too, so that the kernel and libc find out. Context: agent. */
bool census_cannot_tell(void);

/* The caller is the only thread. counted: its end will be seen. Context: child. */
void census_child(bool counted);

#endif
