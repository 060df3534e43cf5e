/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: every phase has its own end. A head has 5 s from accept and a body 30 s, however the
 * bytes trickle; a reply may take any time as long as the client takes bytes of it at least every
 * 10 s, judged by the socket's queue, since a slow reader frees room for new ones only in lumps.
 */
#include "agent/http/connection.h"

#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>

#include "agent/base/attr.h"
#include "agent/base/mem.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/http/dispatch.h"

#define SECOND UINT64_C(1000000000)

static const uint64_t head_limit = 5 * SECOND;
static const uint64_t stall_limit = 10 * SECOND;
static const uint64_t stall_look = SECOND;
static const uint64_t linger_limit = SECOND;
/* A reader that took nothing for so long gives way when others need its place. */
static const uint64_t stall_evict = 2 * SECOND;

enum { BUF_FIRST = 2000, SEND_MOST = 256 << 10, DISCARD_MOST = 64 << 10 };

static struct {
	unsigned busy; /* connections in PHASE_JOB and PHASE_SEND */
} self;

static bool is_busy(enum phase phase)
{
	return phase == PHASE_JOB || phase == PHASE_SEND;
}

static void enter(struct connection *c, enum phase phase)
{
	self.busy += is_busy(phase);
	self.busy -= is_busy(c->phase);
	c->phase = phase;
}

bool connection_crowd(void)
{
	return self.busy >= BUSY_MAX - BUSY_MAX / 16;
}

struct connection *connection_new(int fd, bool tcp, const struct server_config *config,
				  const struct access_rules *rules, uint64_t now_ns)
{
	struct connection *c = mem_zalloc(sizeof(*c));

	if (!c)
		return NULL;
	c->buf = mem_alloc(BUF_FIRST);
	if (!c->buf) {
		mem_free(c);
		return NULL;
	}
	c->room = BUF_FIRST;
	c->fd = fd;
	c->tcp = tcp;
	c->config = config;
	c->rules = rules;
	c->deadline_ns = now_ns + head_limit;
	reply_open(&c->exchange);
	return c;
}

static void drop_job(struct connection *c)
{
	void (*drop)(struct exchange *) = c->exchange.drop;

	c->exchange.drop = NULL;
	c->exchange.step = NULL;
	c->exchange.wake_events = 0;
	if (drop)
		drop(&c->exchange);
}

static void free_buffers(struct connection *c)
{
	drop_job(c);
	reply_drop(&c->reply);
	dispatch_free_body(c);
	mem_free(c->buf);
	c->buf = NULL;
}

void connection_close(struct connection *c)
{
	if (c->phase == PHASE_DEAD)
		return;
	free_buffers(c);
	sys_close(c->fd);
	enter(c, PHASE_DEAD);
}

void connection_free(struct connection *c)
{
	connection_close(c);
	mem_free(c);
}

/* The client must not take what it got for a whole answer. */
static void reset(struct connection *c)
{
	struct linger at_once = {.l_onoff = 1};

	if (c->sent == 0) {
		reply_busy(c->fd);
	} else {
		stat_add(STAT_HTTP_CUT, 1);
		sys_setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	}
	connection_close(c);
}

static void gone(struct connection *c)
{
	stat_add(STAT_HTTP_GONE, 1);
	connection_close(c);
}

static void discard(struct connection *c)
{
	char waste[4096];
	size_t n = 0;
	long r = 1;

	while (n < DISCARD_MOST && r > 0) {
		r = sys_recv(c->fd, waste, sizeof(waste), MSG_DONTWAIT);
		if (r > 0)
			n += (size_t)r;
	}
	if (r == 0 || (r < 0 && r != -EAGAIN && r != -EINTR))
		connection_close(c);
}

static void linger(struct connection *c, uint64_t now_ns)
{
	free_buffers(c);
	sys_shutdown(c->fd, SHUT_WR);
	enter(c, PHASE_LINGER);
	c->deadline_ns = now_ns + linger_limit;
	discard(c);
}

static void flush(struct connection *c, uint64_t now_ns)
{
	bool was_idle = c->moved_ns == 0;
	long n;

	if (c->reply.broken) {
		reset(c);
		return;
	}
	n = reply_send(&c->reply, c->fd, SEND_MOST);
	if (n < 0) {
		gone(c);
		return;
	}
	c->sent += (uint64_t)n;
	if (n > 0 || was_idle) {
		c->moved_ns = now_ns;
		c->queued = INT32_MAX;
		c->deadline_ns = now_ns + stall_look;
	}
	if (c->reply.pending == 0) {
		c->moved_ns = 0;
		if (c->reply.finished)
			linger(c, now_ns);
	}
}

/* Starts to send a reply whose end is not known when it holds too much. */
static void stream(struct connection *c, uint64_t now_ns)
{
	if (!c->reply.started && c->reply.pending > reply_hold_limit(&c->reply))
		reply_start(&c->reply);
	if (c->reply.started)
		flush(c, now_ns);
}

static void finish(struct connection *c, uint64_t now_ns)
{
	drop_job(c);
	reply_finish(&c->exchange);
	enter(c, PHASE_SEND);
	flush(c, now_ns);
}

/* The handler ran. */
static void go_on(struct connection *c, uint64_t now_ns)
{
	if (c->exchange.step && self.busy >= BUSY_MAX) {
		drop_job(c);
		stat_add(STAT_HTTP_BUSY, 1);
		reply_error(&c->exchange, 503, "the agent serves too many requests now: try again");
		reply_header(&c->exchange, "Retry-After: 1");
	}
	if (!c->exchange.step) {
		finish(c, now_ns);
		return;
	}
	enter(c, PHASE_JOB);
	c->stepped_ns = now_ns;
	/* A new job gets its first turn soon: JOB_AGAIN unless it set a time. */
	c->job = c->exchange.wake_ns || c->exchange.wake_events ? JOB_WAIT : JOB_AGAIN;
	stream(c, now_ns);
}

static void act(struct connection *c, enum dispatch what, uint64_t now_ns)
{
	switch (what) {
	case DISPATCH_HEAD:
		break;
	case DISPATCH_REPLY:
		go_on(c, now_ns);
		break;
	case DISPATCH_FULL:
		reply_busy(c->fd);
		/* fall through */
	case DISPATCH_GONE: /* nobody waits for an answer to half a question */
		connection_close(c);
		break;
	case DISPATCH_BODY:
		if (c->phase == PHASE_HEAD)
			c->deadline_ns = now_ns + DISPATCH_BODY_LIMIT_NS;
		enter(c, PHASE_BODY);
		break;
	}
}

/* The client has to take some of the reply before the job may make more; or others theirs, when
 * all replies together hold too much. Jobs that wait for a time are not held up: they may have to
 * end a measurement. */
static bool suspended(const struct connection *c)
{
	if (c->job == JOB_AGAIN && reply_pressure())
		return true;
	return c->reply.started && c->reply.pending > reply_hold_limit(&c->reply);
}

void connection_relieve(struct connection *c, uint64_t now_ns)
{
	if (c->phase == PHASE_JOB && !c->reply.started)
		stream(c, now_ns);
}

unsigned connection_poll(const struct connection *c, struct pollfd fds[2])
{
	fds[0] = (struct pollfd){.fd = c->fd};
	switch (c->phase) {
	case PHASE_HEAD:
	case PHASE_BODY:
	case PHASE_LINGER:
		fds[0].events = POLLIN;
		break;
	case PHASE_JOB:
		fds[0].events = c->tcp ? POLLRDHUP : 0;
		if (c->reply.started && c->reply.pending)
			fds[0].events |= POLLOUT;
		break;
	case PHASE_SEND:
		fds[0].events = POLLOUT;
		break;
	case PHASE_DEAD:
		break;
	}
	if (c->phase != PHASE_JOB || !c->exchange.wake_events || suspended(c))
		return 1;
	fds[1] = (struct pollfd){.fd = c->exchange.wake_fd, .events = c->exchange.wake_events};
	return 2;
}

uint64_t connection_wake(const struct connection *c)
{
	uint64_t at = c->deadline_ns;

	if (c->phase != PHASE_JOB)
		return at;
	if (!c->reply.started || !c->reply.pending)
		at = UINT64_MAX;
	if (suspended(c))
		return at;
	if (c->job == JOB_AGAIN)
		return 0;
	return c->exchange.wake_ns && c->exchange.wake_ns < at ? c->exchange.wake_ns : at;
}

bool connection_runnable(const struct connection *c, bool fd_ready, uint64_t now_ns)
{
	if (c->phase != PHASE_JOB || suspended(c))
		return false;
	return c->job == JOB_AGAIN || fd_ready ||
	       (c->exchange.wake_ns && c->exchange.wake_ns <= now_ns);
}

void connection_on_ready(struct connection *c, short revents, uint64_t now_ns)
{
	switch (c->phase) {
	case PHASE_HEAD:
		act(c, dispatch_head(c, now_ns), now_ns);
		break;
	case PHASE_BODY:
		act(c, dispatch_body(c), now_ns);
		break;
	case PHASE_JOB:
		if (revents & (POLLHUP | POLLERR | POLLRDHUP | POLLNVAL))
			gone(c);
		else if (revents & POLLOUT)
			flush(c, now_ns);
		break;
	case PHASE_SEND:
		flush(c, now_ns);
		break;
	case PHASE_LINGER:
		discard(c);
		break;
	case PHASE_DEAD:
		break;
	}
}

/* Did the client take bytes since the last look? */
static void look_for_progress(struct connection *c, uint64_t now_ns)
{
	int queued = 0;

	if (sys_ioctl(c->fd, SIOCOUTQ, &queued) == 0 && queued < c->queued) {
		/* the first look after a send only learns the length */
		if (c->queued != INT32_MAX)
			c->moved_ns = now_ns;
		c->queued = queued;
	}
	c->deadline_ns = now_ns + stall_look;
	if (now_ns - c->moved_ns < stall_limit)
		return;
	stat_add(STAT_HTTP_TIMEOUT, 1);
	reset(c);
}

void connection_on_time(struct connection *c, uint64_t now_ns)
{
	if (c->phase == PHASE_DEAD || now_ns < c->deadline_ns)
		return;
	switch (c->phase) {
	case PHASE_HEAD:
	case PHASE_BODY:
		stat_add(STAT_HTTP_TIMEOUT, 1);
		if (c->have == 0) {
			connection_close(c);
		} else {
			dispatch_malformed(c, 408);
			finish(c, now_ns);
		}
		break;
	case PHASE_JOB:
		if (!c->reply.started || !c->reply.pending)
			break;
		/* fall through */
	case PHASE_SEND:
		look_for_progress(c, now_ns);
		break;
	case PHASE_LINGER:
		connection_close(c);
		break;
	case PHASE_DEAD:
		break;
	}
}

void connection_step(struct connection *c, uint64_t now_ns)
{
	c->stepped_ns = now_ns;
	c->job = c->exchange.step(&c->exchange, now_ns);
	if (c->job == JOB_DONE)
		finish(c, now_ns);
	else
		stream(c, now_ns);
}

uint64_t connection_idleness(const struct connection *c, uint64_t now_ns)
{
	const uint64_t rank = UINT64_C(1) << 62; /* above any time in ns */

	switch (c->phase) {
	case PHASE_LINGER:
		return 3 * rank;
	case PHASE_HEAD:
	case PHASE_BODY:
		return 2 * rank;
	case PHASE_JOB:
		if (c->punished)
			return rank;
		if (!c->reply.started || !c->reply.pending)
			return 0;
		/* fall through */
	case PHASE_SEND: /* of those who do not read, who has not for longest */
		return now_ns - c->moved_ns > stall_evict ? now_ns - c->moved_ns : 0;
	default:
		return 0;
	}
}

void connection_evict(struct connection *c)
{
	if (c->phase != PHASE_LINGER)
		stat_add(STAT_HTTP_EVICTED, 1);
	if (c->phase == PHASE_SEND || (c->phase == PHASE_JOB && c->reply.started))
		reset(c);
	else
		connection_close(c);
}
