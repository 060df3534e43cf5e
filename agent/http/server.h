/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The listener: bytes to requests, replies to bytes, for many clients on one thread. Knows nothing
 * of profiles: the route function given at start decides what to answer.
 *
 * One loop, no blocking call but poll. A request that takes time is a job: the loop calls its step
 * function, which works for at most 10 ms and says when it wants to go on. Replies are gathered in
 * memory (inside the budget) and sent with Content-Length; when more than 8 MiB has been gathered
 * (less when the budget is nearly spent), the reply goes out chunked, and a job is not called while
 * more than that waits to be sent.
 *
 * A client that closes or (TCP) half-closes its connection while a job runs is gone: the job is
 * dropped at once. On unix sockets only a full close counts. Every reply closes the connection.
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
	JOB_WAIT,  /* call me at exchange->wake_ns (CLOCK_MONOTONIC), or when wake_fd is ready */
};

/* One request being answered. The connection owns it. */
struct exchange {
	struct request
		request;  /* strings point into the connection's buffer: valid until the end */
	struct sink body; /* where the handler writes the body of its reply */

	/* Set by a handler that needs time; all NULL/0 for a reply written at once. The first step
	 * comes soon, or as after JOB_WAIT when the handler sets wake_ns or wake_events. */
	enum job_state (*step)(struct exchange *exchange, uint64_t now_ns);
	void (*drop)(
		struct exchange *exchange); /* frees state, once: after JOB_DONE, or client gone */
	void *state;
	uint64_t wake_ns;
	int wake_fd;	   /* a descriptor of the agent thread that also ends a JOB_WAIT */
	short wake_events; /* POLLIN, POLLOUT; 0: wake_fd means nothing */

	bool local;	 /* the listener is bound to loopback or a unix socket */
	bool authorized; /* a token was asked for and given */
};

/* Starts a reply. `type` is the Content-Type (NULL: none); attachment NULL or the file name of
 * Content-Disposition. Nothing goes out before the handler is done (or 8 MiB are gathered), so a
 * handler that fails midway may call reply_error instead. To HEAD the body is counted, not kept: a
 * handler that would have to collect something for it may just begin the reply and write nothing;
 * Content-Length is left out then. */
void reply_begin(struct exchange *exchange, int status, const char *type, const char *attachment);

/* An error as net/http/pprof gives it: text/plain, nosniff, X-Go-Pprof: 1, text and a newline.
 * Replaces whatever was begun; when part of that is on its way already, the connection is reset, so
 * that the client sees a broken answer and not a short one. */
void reply_error(struct exchange *exchange, int status, const char *text);

/* As reply_error without X-Go-Pprof: what Go's ServeMux says, "404 page not found". */
void reply_plain(struct exchange *exchange, int status, const char *text);

/* 301 to a decoded path of this server; the query of the request is kept. */
void reply_redirect(struct exchange *exchange, const char *path);

/* One more header line, "Name: value" without line end; before the first body byte. */
void reply_header(struct exchange *exchange, const char *line);

/* More is gathered than the reply should hold: a job that can write much in one step looks here
 * after each piece, and returns JOB_AGAIN; it is called again when the client has taken enough. */
bool reply_full(struct exchange *exchange);

/* A request body, for POST on /debug/pprof/symbol: all of it is in memory before the route is
 * called. NULL when there is none. */
const char *exchange_body(const struct exchange *exchange, size_t *out_size);

/* Answers by asking the agent of another process of the same user or root, or of the process
 * trusted_pid (0: none) whatever its user, which listens on the
 * abstract unix socket `name` (without '@'): sends it this request with `target` (path and query,
 * encoded) in place of its own, and relays status, type, file name, X-Go-Pprof and body. Becomes a
 * job; errors become 502 or 504. Returns 0, or -errno when nothing was started: then the handler
 * still has to reply. */
int exchange_forward(struct exchange *exchange, const char *name, const char *target,
		     int trusted_pid);

struct server_config {
	const char *address; /* PPROF_ADDR: forms in agent/http/address.h; NULL: 127.0.0.1:6060 */
	const char *token;   /* NULL or "": none */
	const char *hosts;   /* PPROF_HOSTS: comma-separated host names, or NULL */
	size_t max_body;     /* bytes of a POST body */
	/* Answers one request: calls reply_* at once or sets a job. */
	void (*route)(struct exchange *exchange);
	/* May this method be used on this path? Bits METHOD_*; 405 with Allow otherwise. */
	unsigned (*methods)(const struct request *request);
	/* Called with true before and with false behind each wait of server_turn; may be NULL. */
	void (*waiting)(bool waits);
};

struct server;

/* Binds and listens. 0: *out_server is set, to NULL when the address is "off". Else -errno with one
 * clear line in `error`; -EADDRINUSE among them: the caller stays silent then. At most 4
 * descriptors, close-on-exec. The texts of `config` are not copied. Context: init, agent. */
int server_open(const struct server_config *config, struct server **out_server, char *error,
		size_t error_size);

/* The descriptors that it listens on, to be kept over the change of descriptor table under the same
 * numbers. Should another file ever stand behind one of them, the server stops listening on it. */
unsigned server_descriptors(const struct server *server, int fds[4]);

/* Addresses as a person would type them, "http://127.0.0.1:6060/debug/pprof/", one a line; a unix
 * socket as "unix:/path". Returns the length of the whole text. */
size_t server_describe(const struct server *server, char *buf, size_t size);
uint16_t server_port(const struct server *server);    /* 0 for unix sockets */
const char *server_path(const struct server *server); /* "/path" or "@name"; NULL for TCP */

/* It can be reached from other machines and asks for no token: worth a warning. */
bool server_exposed(const struct server *server);

/* One turn: waits for sockets or jobs, at most until `until_ns` (CLOCK_MONOTONIC), serves them. */
void server_turn(struct server *server, uint64_t until_ns);

/* Drops all connections and closes everything; removes the socket file it made. */
void server_close(struct server *server);

#endif
