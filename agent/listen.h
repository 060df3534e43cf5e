/* SPDX-License-Identifier: Apache-2.0 */
/* Who listens where: the port before main, a socket of its own in a forked child. */
#ifndef AGENT_LISTEN_H
#define AGENT_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Would listen_before_main find the address taken, and have nothing to say about it? Then this process can pass
 * through from the beginning: one that lives for a moment is spared a third of the page faults.
 * Context: init, after options_load. */
bool listen_is_in_vain(void);

/* Binds PPROF_ADDR and starts the agent's thread. When the address is taken another process is meant:
 * then nothing happens, and the hooks forward for ever. Context: init, before main. */
void listen_before_main(void);

/* Starts the agent's thread in a forked child that lives on. Context: hook. */
void listen_in_child(void);

/* Addresses that this process listens on, one a line; "" for none. Context: agent. */
size_t listen_describe(char *buf, size_t size);

/* True in a forked child that another process of its family serves. Context: agent. */
bool listen_is_worker(void);

/* For the agent's thread: tries for the port while this process does not hold it and may; returns when
 * to call again, UINT64_MAX: there is no need. Context: agent. */
uint64_t listen_tend(uint64_t now_ns);

/* What it listens on now, NULL: nothing. Context: agent. */
struct server;
struct server *listen_server(void);

/* Context: child. */
void listen_child(void);

#endif
