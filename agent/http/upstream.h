/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/1.1 answer, as it comes, turned into the reply of an exchange: status, the few header
 * lines that mean something here, and the body without its framing.
 *
 * Context: agent.
 */
#ifndef HTTP_UPSTREAM_H
#define HTTP_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UPSTREAM_HEAD_MAX = 4096 };

struct exchange;

enum upstream_state {
	UPSTREAM_MORE, /* go on feeding */
	UPSTREAM_DONE, /* the answer is complete; what follows is not looked at */
	UPSTREAM_BAD,  /* not an answer that we understand */
};

struct upstream {
	struct exchange *exchange; /* set by the user; all else 0 */
	size_t have;		   /* bytes in head */
	bool in_body;
	bool chunked;
	bool until_end; /* no length given */
	int line;	/* chunked, between data: which line is read, enum in upstream.c */
	unsigned digits;
	uint64_t left; /* bytes of the body, or of the chunk */
	char head[UPSTREAM_HEAD_MAX + 1];
};

/* Takes all of the bytes. */
enum upstream_state upstream_feed(struct upstream *u, const char *data, size_t size);

/* The other side closed: was that the end of the answer? */
bool upstream_end(const struct upstream *u);

#endif
