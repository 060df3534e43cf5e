/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/http/dispatch.h"

#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/budget.h"
#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/http/connection.h"
#include "agent/http/path.h"

/* Wrong tokens in a row, each less than a second after the one before, that are answered at once;
 * the others wait a second (hazard K6). */
enum { FREE_GUESSES = 5, BODY_FIRST = 4000 };
static const uint64_t guess_delay_ns = 1000000000;

static struct {
	uint64_t guessed_ns; /* the last wrong token */
	unsigned guesses;    /* in a row */
	size_t bodies;	     /* bytes that all request bodies hold */
} self;

static void reply_no_token(struct exchange *x)
{
	reply_error(x, 401,
		    "a token is needed: send \"Authorization: Bearer TOKEN\" or use "
		    "http://x:TOKEN@host/ (PPROF_TOKEN)");
	reply_header(x, "WWW-Authenticate: Basic realm=\"pprof\", charset=\"UTF-8\"");
}

static enum job_state say_no(struct exchange *x, uint64_t now_ns)
{
	reply_no_token(x);
	return JOB_DONE;
}

static void refuse_token(struct connection *c, uint64_t now_ns)
{
	if (now_ns - self.guessed_ns > guess_delay_ns)
		self.guesses = 0;
	self.guessed_ns = now_ns;
	if (self.guesses++ < FREE_GUESSES) {
		reply_no_token(&c->exchange);
		return;
	}
	c->exchange.step = say_no;
	c->exchange.wake_ns = now_ns + guess_delay_ns;
	c->punished = true;
}

static bool let_in(struct connection *c, uint64_t now_ns)
{
	struct exchange *x = &c->exchange;

	switch (access_check(c->rules, &x->request)) {
	case ACCESS_GRANTED:
		x->local = c->rules->loopback || c->rules->local_socket;
		x->authorized = c->rules->token && *c->rules->token;
		return true;
	case ACCESS_NO_TOKEN:
		refuse_token(c, now_ns);
		break;
	case ACCESS_HOST:
		reply_error(x, 403,
			    "this host name is not allowed: use an IP address or localhost, or add "
			    "it to PPROF_HOSTS");
		break;
	case ACCESS_ORIGIN:
		reply_error(
			x, 403,
			"requests made by other web pages are refused: open this address itself");
		break;
	}
	stat_add(STAT_HTTP_DENIED, 1);
	return false;
}

static void refuse_method(struct exchange *x, unsigned allowed)
{
	static const char *const names[] = {"GET", "HEAD", "POST"}; /* by bit of METHOD_* */
	char line[40] = "Allow: ";
	size_t n = strlen(line), first = n;

	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		if (allowed & 1u << i)
			n += fmt_buf(line + n, sizeof(line) - n, "%s%s", n > first ? ", " : "",
				     names[i]);
	reply_plain(x, 405, reply_status_text(405));
	reply_header(x, line);
}

/* The body announced is one that we take; if not, the answer is begun. */
static bool body_welcome(struct connection *c)
{
	struct request *r = &c->exchange.request;

	if (r->length == 0 || (r->method == METHOD_POST && r->length <= c->config->max_body))
		return true;
	reply_plain(&c->exchange, 413, reply_status_text(413));
	return false;
}

static void run_route(struct connection *c)
{
	stat_add(STAT_HTTP_REQUESTS, 1);
	c->config->route(&c->exchange);
}

/* Grows with what has come, not with what was promised; all bodies together get a quarter of the
 * budget. */
static bool grow_body(struct connection *c)
{
	size_t room = c->body_room ? 2 * c->body_room : BODY_FIRST;
	char *grown;

	if (c->body_have < c->body_room)
		return true;
	if (room > c->exchange.request.length)
		room = (size_t)c->exchange.request.length;
	if (self.bodies + room - c->body_room > budget_limit() / 4)
		return false;
	grown = mem_realloc(c->body, room);
	if (!grown)
		return false;
	self.bodies += room - c->body_room;
	c->body = grown;
	c->body_room = room;
	return true;
}

void dispatch_free_body(struct connection *c)
{
	self.bodies -= c->body_room;
	c->body_room = 0;
	mem_free(c->body);
	c->body = NULL;
}

/* Bytes of the body: those that came with the head, then the socket's. As recv. */
static long read_some(struct connection *c, char *to, size_t size)
{
	size_t extra = c->have - c->head_size - c->body_taken;

	if (extra == 0)
		return sys_recv(c->fd, to, size, MSG_DONTWAIT);
	if (extra > size)
		extra = size;
	memcpy(to, c->buf + c->head_size + c->body_taken, extra);
	c->body_taken += extra;
	return (long)extra;
}

enum dispatch dispatch_body(struct connection *c)
{
	size_t size = (size_t)c->exchange.request.length;

	while (c->body_have < size) {
		size_t room;
		long n;

		if (!grow_body(c)) {
			stat_add(STAT_NO_MEMORY, 1);
			reply_error(&c->exchange, 503,
				    "no memory for the body: raise PPROF_MAX_MEM");
			return DISPATCH_REPLY;
		}
		room = c->body_room - c->body_have;
		n = read_some(c, c->body + c->body_have, room);
		if (n == -EAGAIN || n == -EINTR)
			return DISPATCH_BODY;
		if (n <= 0)
			return DISPATCH_GONE;
		c->body_have += (size_t)n;
	}
	run_route(c);
	return DISPATCH_REPLY;
}

static void send_continue(struct connection *c)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	const struct request *r = &c->exchange.request;

	if (r->expect_continue && r->minor >= 1 && r->length > 0 && c->have == c->head_size)
		sys_send(c->fd, go_on, sizeof(go_on) - 1, MSG_DONTWAIT);
}

/* The head is complete. */
static enum dispatch judge(struct connection *c, uint64_t now_ns)
{
	struct exchange *x = &c->exchange;
	char clean[REQUEST_PATH_MAX + 2];
	unsigned allowed;

	c->reply.minor = x->request.minor;
	c->reply.head_only = x->request.method == METHOD_HEAD;
	if (!let_in(c, now_ns))
		return DISPATCH_REPLY;
	if (path_clean(x->request.path, clean)) {
		reply_redirect(x, clean);
		return DISPATCH_REPLY;
	}
	allowed = c->config->methods(&x->request);
	if (!(allowed & x->request.method)) {
		refuse_method(x, allowed);
		return DISPATCH_REPLY;
	}
	if (!body_welcome(c))
		return DISPATCH_REPLY;
	send_continue(c);
	return dispatch_body(c);
}

void dispatch_malformed(struct connection *c, int status)
{
	char text[64];

	stat_add(STAT_HTTP_BAD, status != 408);
	c->reply.head_only = false;
	fmt_buf(text, sizeof(text), "%d %s", status, reply_status_text(status));
	reply_plain(&c->exchange, status, text);
	if (status == 405)
		reply_header(&c->exchange, "Allow: GET, HEAD");
}

static bool grow_buffer(struct connection *c)
{
	size_t room = c->room * 2 < REQUEST_HEAD_MAX ? c->room * 2 : REQUEST_HEAD_MAX;
	char *grown;

	if (c->have < c->room)
		return true;
	grown = mem_realloc(c->buf, room);
	if (!grown)
		return false;
	c->buf = grown;
	c->room = room;
	return true;
}

enum dispatch dispatch_head(struct connection *c, uint64_t now_ns)
{
	for (;;) {
		int size;
		long n;

		/* A full buffer of 8 KiB never gets here: request_parse says 431 to it. */
		if (!grow_buffer(c))
			return DISPATCH_FULL;
		n = sys_recv(c->fd, c->buf + c->have, c->room - c->have, MSG_DONTWAIT);
		if (n == -EAGAIN || n == -EINTR)
			return DISPATCH_HEAD;
		if (n <= 0)
			return DISPATCH_GONE;
		c->have += (size_t)n;
		size = request_parse(&c->exchange.request, c->buf, c->have);
		if (size == REQUEST_PARTIAL)
			continue;
		if (size > 0) {
			c->head_size = (size_t)size;
			return judge(c, now_ns);
		}
		dispatch_malformed(c, -size);
		return DISPATCH_REPLY;
	}
}

const char *exchange_body(const struct exchange *exchange, size_t *out_size)
{
	const struct connection *c = CONTAINER_OF(exchange, const struct connection, exchange);

	*out_size = c->body_have;
	return c->body;
}
