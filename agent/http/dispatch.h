/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the socket to the handler: head, access, canonical path, method, body. Whatever is refused
 * on the way gets its answer here.
 *
 * Context: agent.
 */
#ifndef HTTP_DISPATCH_H
#define HTTP_DISPATCH_H

#include <stdint.h>

/* A body that is not complete after this long is answered 408. */
#define DISPATCH_BODY_LIMIT_NS UINT64_C(30000000000)

struct connection;

enum dispatch {
	DISPATCH_HEAD,	/* the head is not complete: dispatch_head when there is more of it */
	DISPATCH_BODY,	/* the body is not complete: dispatch_body when there is more of it */
	DISPATCH_REPLY, /* a reply was begun, or a job set */
	DISPATCH_FULL,	/* no memory to read on */
	DISPATCH_GONE,	/* the client left before the end of its request */
};

/* Read what is there. */
enum dispatch dispatch_head(struct connection *c, uint64_t now_ns);
enum dispatch dispatch_body(struct connection *c);
void dispatch_free_body(struct connection *c);

/* Answers what is no request: "400 Bad Request" and the like. */
void dispatch_malformed(struct connection *c, int status);

#endif
