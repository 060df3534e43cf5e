/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose turn it is. What has one owner at a time (symbols, encoders, the CPU session) belongs to the
 * thread that holds the turn: the agent's own, but while it waits for something to do; or one that is
 * about to end the process and writes its profiles first (agent/output.h).
 */
#ifndef AGENT_TURN_H
#define AGENT_TURN_H

#include <stdbool.h>
#include <stdint.h>

/* Waits until `deadline_ns` (CLOCK_MONOTONIC; UINT64_MAX: for ever). false: somebody else still has it.
 * Not recursive. Context: agent, hook with the guard up. */
bool turn_take(uint64_t deadline_ns);
void turn_give(void);

/* Around each wait of the agent's thread: struct server_config.waiting. Context: agent. */
void turn_waiting(bool waits);

/* Context: child. */
void turn_child(void);

#endif
