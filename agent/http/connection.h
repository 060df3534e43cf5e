/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client: from accept over head, body, job and reply to the last close. The server's loop calls
 * these when the socket, a clock or a turn says so.
 *
 * Context: agent.
 */
#ifndef HTTP_CONNECTION_H
#define HTTP_CONNECTION_H

#include <poll.h>

#include "agent/http/access.h"
#include "agent/http/reply.h"
#include "agent/http/server.h"

/* Connections with a job or a reply to send. Any more get 503 for a job; what can be answered at
 * once is answered: the server keeps places beyond these. */
enum { BUSY_MAX = 256 };

enum phase {
	PHASE_HEAD,   /* the head of the request is not complete */
	PHASE_BODY,   /* its body is not */
	PHASE_JOB,    /* a job works on the reply */
	PHASE_SEND,   /* the reply is complete and being sent */
	PHASE_LINGER, /* sent; what the client still says is thrown away, lest the close be a reset
		       */
	PHASE_DEAD,   /* closed; to be freed by connection_free */
};

struct connection {
	struct exchange exchange;
	struct reply reply;
	struct connection *next, *prev; /* the server's list, oldest first */
	const struct server_config *config;
	const struct access_rules *rules;
	enum phase phase;
	enum job_state job; /* PHASE_JOB: what its last step said */
	int fd;
	unsigned poll_at; /* index of its pollfd in this turn; the job's wake_fd follows */
	bool tcp;	  /* a FIN is a goodbye */
	bool punished;	  /* PHASE_JOB: only waits to say 401; may be evicted */
	uint64_t
		deadline_ns; /* HEAD, BODY, LINGER: the end. JOB, SEND: when to look for progress */
	uint64_t moved_ns;   /* the client last took bytes */
	uint64_t stepped_ns; /* the job's last step */
	uint64_t sent;	     /* bytes that the kernel took */
	int queued;	     /* bytes in the socket's queue at the last look */
	char *buf;	     /* the head, and what followed it in the same reads */
	size_t have, room;
	size_t head_size;
	char *body;
	size_t body_have, body_room;
	size_t body_taken; /* bytes of it that were in buf */
};

/* Takes over the descriptor; NULL when there is no memory (the descriptor stays the caller's). */
struct connection *connection_new(int fd, bool tcp, const struct server_config *config,
				  const struct access_rules *rules, uint64_t now_ns);
void connection_free(struct connection *c);

/* Drops the job and closes. */
void connection_close(struct connection *c);

/* What to wait for: fills 1 or 2 entries and returns how many. */
unsigned connection_poll(const struct connection *c, struct pollfd fds[2]);
/* When the loop has to come back without any event; 0: at once, a job wants to go on. */
uint64_t connection_wake(const struct connection *c);

/* The socket is ready. */
void connection_on_ready(struct connection *c, short revents, uint64_t now_ns);
/* Enforces the deadlines. */
void connection_on_time(struct connection *c, uint64_t now_ns);

/* Its job may be stepped now. `fd_ready`: wake_fd had an event. */
bool connection_runnable(const struct connection *c, bool fd_ready, uint64_t now_ns);
void connection_step(struct connection *c, uint64_t now_ns);

/* Nearly as many are busy as may be. */
bool connection_crowd(void);
/* Lets a reply that holds too much begin to be sent. */
void connection_relieve(struct connection *c, uint64_t now_ns);

/* How dispensable it is when another wants its place: 0 not at all, else higher is more. */
uint64_t connection_idleness(const struct connection *c, uint64_t now_ns);
/* Closes it in favour of another. */
void connection_evict(struct connection *c);

#endif
