/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reply on its way: header lines and body bytes gathered in blocks, later sent from their front.
 * The functions that handlers call (reply_begin, …) are in server.h; these are the connection's.
 *
 * Context: agent.
 */
#ifndef HTTP_REPLY_H
#define HTTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block;

struct reply {
	struct block *first, *last; /* not yet sent */
	size_t pending;		    /* bytes in them, framing included */
	uint64_t total;		    /* body bytes written by the handler */
	char *lines;		    /* header lines of the handler, each with CRLF; NULL: none */
	size_t lines_size;
	int status;
	int err;	/* -errno: the gathered body is not whole */
	unsigned minor; /* HTTP/1.minor of the request */
	bool head_only; /* HEAD: no body is kept */
	bool page;	/* of type text/html: its policy lets our own script and style in */
	bool started;	/* the head is in the blocks: nothing can be taken back */
	bool chunked;	/* chunked transfer coding */
	bool finished;	/* the last byte is in the blocks */
	bool broken;	/* must end in a reset */
};

struct exchange;

/* Makes `exchange->body` write into its reply. */
void reply_open(struct exchange *exchange);
/* Frees all that it holds. */
void reply_drop(struct reply *reply);

/* The head of a reply whose end is not known yet: from here on blocks may be sent. */
void reply_start(struct reply *reply);
/* The handler is done. If the body did not fit into the memory, the reply becomes a 503. */
void reply_finish(struct exchange *exchange);

/* Sends up to `most` bytes. Bytes taken by the kernel (0: none at the moment), or -errno. */
long reply_send(struct reply *reply, int fd, size_t most);

/* How many bytes this reply may hold before it is sent in chunks and its job waits: 8 MiB, or less
 * when the others and the rest of the agent need the budget. */
size_t reply_hold_limit(const struct reply *reply);

/* All replies together hold clearly more than half of the budget. */
bool reply_pressure(void);

/* "Not Found" for 404. */
const char *reply_status_text(int status);

/* The answer for those who cannot get any other; never fails, never waits. */
void reply_busy(int fd);

#endif
