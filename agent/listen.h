/* SPDX-License-Identifier: Apache-2.0 */
/* Who listens where: the port before main, a socket of its own in a forked child. */
#ifndef AGENT_LISTEN_H
#define AGENT_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

/* Binds PPROF_ADDR and starts the agent's thread. When the address is taken another process is meant:
 * then nothing happens, and the hooks forward for ever. Context: init, before main. */
void listen_before_main(void);

/* Starts the agent's thread in a forked child that lives on. Context: hook. */
void listen_in_child(void);

/* Addresses that this process listens on, one a line; "" for none. Context: agent. */
size_t listen_describe(char *buf, size_t size);

/* True when the agent's descriptors are its own (hazard D1). Context: agent. */
bool listen_is_private(void);

/* True in a forked child that another process of its family serves. Context: agent. */
bool listen_is_worker(void);

/* Around fork, in the process that forks. Context: hook. */
void listen_before_fork(void);
void listen_after_fork(void);

/* Context: child. */
void listen_child(void);

#endif
