/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other processes of our family: forked children that live on and listen on abstract sockets
 * named after the family (agent/agent.h). Found in /proc, so that nobody has to register.
 * Context: agent.
 */
#ifndef AGENT_CHILDREN_H
#define AGENT_CHILDREN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct child {
	int pid;
	char name[17];	 /* its comm, or "" */
	uint64_t cpu_ms; /* user and system time, 0 when it cannot be read */
};

/* Calls `see` for each. 0, or -errno when /proc cannot be read. */
int children_visit(void (*see)(const struct child *child, void *arg), void *arg);

#endif
