/* SPDX-License-Identifier: Apache-2.0 */
/* The sockets that wait for clients. Context: agent, init. */
#ifndef HTTP_LISTENER_H
#define HTTP_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/http/address.h"

enum { LISTENERS_MAX = 4 };

struct listener {
	int fd; /* -1: closed */
	bool tcp;
	bool loopback;	   /* TCP that other machines cannot reach */
	uint64_t dev, ino; /* what the descriptor was when it was made (hazard D1) */
	char host[50];	   /* as in a URL: "127.0.0.1", "[::1]"; "" for unix sockets */
	uint16_t port;	   /* the real one */
};

struct listeners {
	struct listener all[LISTENERS_MAX];
	unsigned n;
	char path[ADDRESS_NAME_MAX + 2]; /* "/path" or "@name"; "" for TCP */
	uint64_t path_dev, path_ino;	 /* of the socket file that we made */
};

/* Binds and listens. 0, or -errno with one sentence in `error` and nothing left open. */
int listeners_open(struct listeners *out, const struct address *address, char *error,
		   size_t error_size);
void listeners_close(struct listeners *listeners);

/* Is this one port of TCP another socket's? Nothing stays open. false for what cannot be told without leaving
 * traces: any free port, a range, a socket file. */
bool listener_taken(const struct address *address);

/* Its descriptor is still the socket that was made. */
bool listener_intact(const struct listener *listener);

#endif
