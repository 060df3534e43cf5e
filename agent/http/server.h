/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The listener: bytes to requests, replies to bytes, for many clients on one thread. Knows nothing
 * of profiles: the route function given at start decides what to answer.
 *
 * One loop, no blocking call but poll. A request that takes time is a job: the loop calls its step
 * function, which works for at most 10 ms and says when it wants to go on. Replies are gathered in
 * memory (inside the budget) and sent with Content-Length; when more than 8 MiB has been gathered,
 * the reply goes out chunked, and a job is not called while more than that waits to be sent.
 *
 * Context: agent, unless said otherwise.
 */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/sink.h"
#include "agent/http/request.h"

struct exchange;

enum job_state {
	JOB_DONE,  /* the reply is complete */
	JOB_AGAIN, /* call me again as soon as others had their turn */
	JOB_WAIT,  /* call me at exchange->wake_ns (CLOCK_MONOTONIC) or when kicked */
};

/* One request being answered. The connection owns it. */
struct exchange {
	struct request request; /* strings point into the connection's buffer: valid until the end */
	struct sink body;	/* where the handler writes the body of its reply */

	/* Set by a handler that needs time; all NULL/0 for a reply written at once. */
	enum job_state (*step)(struct exchange *exchange, uint64_t now_ns);
	void (*drop)(struct exchange *exchange); /* frees state: after JOB_DONE, or client gone */
	void *state;
	uint64_t wake_ns;

	bool local; /* loopback or unix socket: cmdline may be shown without a token */
	bool authorized; /* a token was asked for and given */
};

/* Starts a reply. `type` is the Content-Type; attachment NULL or the file name of
 * Content-Disposition. Nothing goes out before the handler is done (or 8 MiB are gathered), so a
 * handler that fails midway may call reply_error instead. */
void reply_begin(struct exchange *exchange, int status, const char *type, const char *attachment);

/* An error as net/http/pprof gives it: text/plain, nosniff, X-Go-Pprof: 1, text and a newline.
 * Replaces whatever was begun. */
void reply_error(struct exchange *exchange, int status, const char *text);

/* One more header line, "Name: value" without line end; before the first body byte. */
void reply_header(struct exchange *exchange, const char *line);

/* A request body, for POST on /debug/pprof/symbol: all of it is in memory before the route is
 * called. NULL when there is none. */
const char *exchange_body(const struct exchange *exchange, size_t *out_size);

struct server_config {
	const char *address;	/* PPROF_ADDR: forms in agent/http/address.h */
	const char *token;	/* NULL or "": none */
	const char *hosts;	/* PPROF_HOSTS: comma-separated host names, or NULL */
	size_t max_body;	/* bytes of a POST body */
	/* Answers one request: calls reply_* at once or sets a job. */
	void (*route)(struct exchange *exchange);
	/* May this method be used on this path? Bits METHOD_*; 405 with Allow otherwise. */
	unsigned (*methods)(const struct request *request);
};

struct server;

/* Binds and listens. On success *out_server; else -errno with one clear line in `error` (EADDRINUSE
 * among them: the caller stays silent then). At most 4 descriptors. Context: init. */
int server_open(const struct server_config *config, struct server **out_server, char *error,
		size_t error_size);

/* The descriptors that it listens on, to be kept over the change of descriptor table. */
unsigned server_descriptors(const struct server *server, int fds[4]);

/* Addresses as a person would type them, "http://127.0.0.1:6060/debug/pprof/", one a line. */
size_t server_describe(const struct server *server, char *buf, size_t size);
uint16_t server_port(const struct server *server); /* 0 for unix sockets */

/* One turn: waits for sockets or jobs, at most until `until_ns` (CLOCK_MONOTONIC), serves them. */
void server_turn(struct server *server, uint64_t until_ns);

/* Wakes a waiting loop or lets all JOB_WAIT jobs be called at once. Any thread. Context: hook. */
void server_kick(struct server *server);

/* Adds a listening descriptor made elsewhere, or removes all and closes. */
void server_close(struct server *server);

#endif
