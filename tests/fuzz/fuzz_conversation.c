/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole connection over a socket pair. First byte: size of the pieces that the client sends;
 * second: flags (token, limits of the reader, what the route does). The client gets one well-formed
 * answer or none, and nothing stays behind.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/mem.h"
#include "agent/http/connection.h"
#include "tests/fuzz/fuzz.h"

#define SECOND UINT64_C(1000000000)

enum { BIG = 300000 };

static struct {
	unsigned flags;
	int jobs, dropped;
	int left; /* steps of the job */
} self;

static enum job_state step(struct exchange *x, uint64_t now_ns)
{
	static char filler[4096];

	for (int i = 0; i < 10; i++)
		sink_write(&x->body, filler, sizeof(filler));
	if (--self.left > 0)
		return self.left & 1 ? JOB_AGAIN : JOB_WAIT;
	if (self.flags & 16)
		reply_error(x, 500, "failed midway");
	return JOB_DONE;
}

static void drop(struct exchange *x)
{
	self.dropped++;
}

static void route(struct exchange *x)
{
	size_t size;
	const char *body = exchange_body(x, &size);

	MUST(size <= 5000 && (size == 0 || body));
	if (size) {
		reply_begin(x, 200, "text/plain", NULL);
		sink_write(&x->body, body, size);
	} else if (self.flags & 2) {
		reply_begin(x, 200, "application/octet-stream", "x");
		x->step = step;
		x->drop = drop;
		x->wake_ns = self.flags & 4 ? SECOND : 0;
		self.left = 1 + (self.flags >> 5);
		self.jobs++;
	} else if (!(self.flags & 8)) {
		reply_redirect(x, "/a b<");
	}
}

static unsigned methods(const struct request *r)
{
	return METHOD_GET | METHOD_HEAD | (strcmp(r->path, "/p") == 0 ? METHOD_POST : 0);
}

/* One head, then nothing or a body as long as it says. */
static void check_answer(const char *text, size_t size)
{
	const char *from = text, *length, *end;

	if (size > 25 && memcmp(text, "HTTP/1.1 100 Continue\r\n\r\n", 25) == 0)
		from += 25;
	if (from == text + size)
		return;
	MUST(size < 12 || memcmp(from, "HTTP/1.1 ", 9) == 0);
	end = strstr(from, "\r\n\r\n");
	if (!end)
		return; /* broken off */
	length = strstr(from, "Content-Length: ");
	if (length && length < end) {
		size_t got = (size_t)(text + size - end - 4), want = strtoul(length + 16, NULL, 10);

		MUST(got == want || got == 0 || (self.flags & 2));
		MUST(got <= want);
	}
	MUST(strstr(from, "nosniff") < end);
}

static void take(int fd, char *text, size_t *have)
{
	long n;

	while (*have < BIG && (n = read(fd, text + *have, BIG - *have)) > 0)
		*have += (size_t)n;
}

static void turn(struct connection *c, uint64_t *now)
{
	struct pollfd fds[2];
	unsigned n = connection_poll(c, fds);

	MUST(n >= 1 && n <= 2);
	if (poll(fds, 1, 0) > 0)
		connection_on_ready(c, fds[0].revents, *now);
	connection_on_time(c, *now);
	if (connection_runnable(c, true, *now))
		connection_step(c, *now);
	*now += SECOND / 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[BIG + 1];
	struct server_config config = {.max_body = 5000, .route = route, .methods = methods};
	struct access_rules rules = {.loopback = true};
	size_t have = 0, piece;
	struct connection *c;
	uint64_t now = SECOND;
	int fds[2];

	if (size < 2 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0)
		return 0;
	piece = data[0] + 1u;
	memset(&self, 0, sizeof(self));
	self.flags = data[1];
	rules.token = self.flags & 1 ? "t" : NULL;
	c = connection_new(fds[0], false, &config, &rules, now);
	for (size_t at = 2; at < size && c->phase != PHASE_DEAD; at += piece) {
		size_t n = size - at < piece ? size - at : piece;

		if (send(fds[1], data + at, n, MSG_NOSIGNAL) < 0)
			break;
		turn(c, &now);
	}
	/* 50 s on this clock: every phase has ended, but for a job's, and that has its steps */
	for (int i = 0; i < 200 && c->phase != PHASE_DEAD; i++) {
		take(fds[1], text, &have);
		turn(c, &now);
	}
	MUST(c->phase == PHASE_DEAD);
	take(fds[1], text, &have);
	text[have] = '\0';
	if (have < BIG)
		check_answer(text, have);
	connection_free(c);
	close(fds[1]);
	MUST(self.jobs == self.dropped && self.jobs <= 1);
	MUST(mem_used() == 0);
	return 0;
}
