/* SPDX-License-Identifier: Apache-2.0 */
/* What the endpoints may ask about the agent's own life. Context: agent. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Name of the program, without directories: as it was called, or else of its file. */
const char *agent_program(void);

/* Family of processes that fork made of one exec'ed program: those that do not hold the port listen on
 * the abstract sockets "pprofagent-<family>-<pid>". */
const char *agent_family(void);

/* A shell, make and the like: it never listens. */
bool agent_is_launcher(void);

/* Does the parent process carry this library? Context: init, hook, agent. */
bool agent_parent_has(void);

/* CLOCK_MONOTONIC of the start in this process. */
uint64_t agent_started_ns(void);

#endif
