/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request handed on to the agent of another process, as a job whose socket is the exchange's
 * wake_fd. The other side is our own server; still nothing of what it says is believed beyond the
 * grammar, since root or our user may have put anything behind the name.
 */
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "agent/http/access.h"
#include "agent/http/server.h"
#include "agent/http/upstream.h"

enum { PIECE = 16 << 10, PIECES = 4 };

/* The other agent reads a request at once, or it hangs. */
static const uint64_t send_limit_ns = 10000000000;

struct forward {
	int fd;
	char *head; /* of our request */
	size_t head_size;
	size_t sent; /* of head and body together */
	uint64_t deadline_ns;
	struct upstream in;
};

static void drop(struct exchange *x)
{
	struct forward *f = x->state;

	if (f->fd >= 0)
		sys_close(f->fd);
	mem_free(f->head);
	mem_free(f);
	x->state = NULL;
}

static enum job_state fail(struct exchange *x, int status, const char *text)
{
	reply_error(x, status, text);
	return JOB_DONE;
}

static enum job_state send_request(struct exchange *x, uint64_t now_ns)
{
	struct forward *f = x->state;
	size_t body_size, all;
	const char *body = exchange_body(x, &body_size);

	all = f->head_size + body_size;
	while (f->sent < all) {
		bool in_head = f->sent < f->head_size;
		const char *at = in_head ? f->head + f->sent : body + (f->sent - f->head_size);
		long n =
			sys_send(f->fd, at, (in_head ? f->head_size : all) - f->sent, MSG_DONTWAIT);

		if (n == -EAGAIN && now_ns >= f->deadline_ns)
			return fail(x, 504, "that process does not answer");
		if (n == -EAGAIN)
			return JOB_WAIT;
		if (n < 0 && n != -EINTR)
			return fail(x, 502, "that process is gone");
		f->sent += n > 0 ? (size_t)n : 0;
	}
	x->wake_events = POLLIN;
	x->wake_ns = 0; /* it may collect for an hour */
	return JOB_WAIT;
}

static enum job_state receive(struct exchange *x)
{
	struct forward *f = x->state;
	char piece[PIECE];

	for (int i = 0; i < PIECES; i++) {
		long n = sys_recv(f->fd, piece, sizeof(piece), MSG_DONTWAIT);

		if (n == -EAGAIN || n == -EINTR)
			return JOB_WAIT;
		if (n <= 0 && upstream_end(&f->in))
			return JOB_DONE;
		if (n <= 0)
			return fail(x, 502, "that process ended before its answer did");
		switch (upstream_feed(&f->in, piece, (size_t)n)) {
		case UPSTREAM_MORE:
			break;
		case UPSTREAM_DONE:
			return JOB_DONE;
		case UPSTREAM_BAD:
			return fail(x, 502,
				    "what listens in the place of that process is no agent");
		}
	}
	return JOB_WAIT;
}

static enum job_state step(struct exchange *x, uint64_t now_ns)
{
	return x->wake_events == POLLIN ? receive(x) : send_request(x, now_ns);
}

static int connect_to(const char *name, int trusted_pid)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t n = strlen(name);
	struct ucred peer;
	socklen_t size = sizeof(peer);
	long err;
	int fd;

	if (n + 1 > sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	fd = (int)sys_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	memcpy(addr.sun_path + 1, name, n);
	err = sys_connect(fd, &addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n));
	if (!err)
		err = sys_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	/* Any user may have taken the name: what it says would be shown as that process's. */
	if (!err && !access_peer(peer.uid, sys_geteuid()) && (!trusted_pid || peer.pid != trusted_pid))
		err = -EPERM;
	if (!err)
		return fd;
	sys_close(fd);
	return (int)err;
}

static const char *method_name(unsigned method)
{
	return method == METHOD_POST ? "POST" : method == METHOD_HEAD ? "HEAD" : "GET";
}

static int print_head(const struct exchange *x, const char *target, struct forward *f)
{
	struct text token = x->request.authorization;
	size_t room = strlen(target) + token.size + 160, body_size;

	exchange_body(x, &body_size);
	f->head = mem_alloc(room);
	if (!f->head)
		return -ENOMEM;
	f->head_size = fmt_buf(f->head, room,
			       "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
			       "Content-Length: %lu\r\n%s%.*s%s\r\n",
			       method_name(x->request.method), target, body_size,
			       token.at ? "Authorization: " : "", (int)token.size,
			       token.at ? token.at : "", token.at ? "\r\n" : "");
	return 0;
}

int exchange_forward(struct exchange *x, const char *name, const char *target, int trusted_pid)
{
	struct forward *f = mem_zalloc(sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->in.exchange = x;
	err = f->fd = connect_to(name, trusted_pid);
	if (err >= 0)
		err = print_head(x, target, f);
	if (err < 0) {
		x->state = f;
		drop(x);
		return err;
	}
	f->deadline_ns = sys_clock_ns(CLOCK_MONOTONIC) + send_limit_ns;
	x->state = f;
	x->step = step;
	x->drop = drop;
	x->wake_fd = f->fd;
	x->wake_events = POLLOUT;
	x->wake_ns = f->deadline_ns;
	return 0;
}
