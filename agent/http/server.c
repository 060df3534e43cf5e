/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: one turn is one poll; then what the clocks demand, what the sockets bring, new clients,
 * and at most 10 ms of jobs, those that wait for a time first and then the one that has waited
 * longest. So a client that asks for something small waits for one such slice at most, however many
 * large answers are being made.
 */
#include "agent/http/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/un.h>

#include "agent/base/attr.h"
#include "agent/base/fmt.h"
#include "agent/base/log.h"
#include "agent/base/mem.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/http/connection.h"
#include "agent/http/listener.h"

enum { CONNECTIONS_MAX = BUSY_MAX + 64, ACCEPT_MOST = 32 };

static const uint64_t jobs_slice_ns = 10000000;
static const uint64_t accept_pause_ns = 100000000;
static const uint64_t poll_pause_ns = 10000000;

struct server {
	struct server_config config;
	struct listeners listeners;
	struct access_rules rules[LISTENERS_MAX];
	struct connection *first, *last; /* oldest first */
	unsigned n;
	unsigned n_polled;	  /* entries of `polled` in this turn */
	uint64_t accept_again_ns; /* no descriptors or memory: no accept before this */
	struct pollfd polled[LISTENERS_MAX + 2 * CONNECTIONS_MAX];
};

int server_open(const struct server_config *config, struct server **out_server, char *error,
		size_t error_size)
{
	struct listeners listeners;
	struct address address;
	struct server *s;
	int err = address_parse(&address, config->address ? config->address : "127.0.0.1:6060",
				sys_getpid(), error, error_size);

	if (err)
		return err;
	if (address.kind == ADDRESS_OFF) {
		*out_server = NULL;
		return 0;
	}
	/* before there is memory for it: where the address is taken, nothing else is to be done */
	err = listeners_open(&listeners, &address, error, error_size);
	if (err)
		return err;
	s = mem_zalloc(sizeof(*s));
	if (!s) {
		listeners_close(&listeners);
		fmt_buf(error, error_size, "no memory for the listener: raise PPROF_MAX_MEM");
		return -ENOMEM;
	}
	s->listeners = listeners;
	s->config = *config;
	for (unsigned i = 0; i < s->listeners.n; i++)
		s->rules[i] = (struct access_rules){
			.token = config->token,
			.hosts = config->hosts,
			.loopback = s->listeners.all[i].loopback,
			.local_socket = !s->listeners.all[i].tcp,
		};
	*out_server = s;
	return 0;
}

unsigned server_descriptors(const struct server *s, int fds[4])
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->listeners.n; i++)
		if (s->listeners.all[i].fd >= 0)
			fds[n++] = s->listeners.all[i].fd;
	return n;
}

size_t server_describe(const struct server *s, char *buf, size_t size)
{
	size_t n = 0;

	if (s->listeners.path[0])
		return fmt_buf(buf, size, "unix:%s\n", s->listeners.path);
	for (unsigned i = 0; i < s->listeners.n; i++)
		n += fmt_buf(buf + (n < size ? n : size), n < size ? size - n : 0,
			     "http://%s:%u/debug/pprof/\n", s->listeners.all[i].host,
			     s->listeners.all[i].port);
	return n;
}

uint16_t server_port(const struct server *s)
{
	return s->listeners.all[0].port;
}

const char *server_path(const struct server *s)
{
	return s->listeners.path[0] ? s->listeners.path : NULL;
}

bool server_exposed(const struct server *s)
{
	if (s->config.token && *s->config.token)
		return false;
	for (unsigned i = 0; i < s->listeners.n; i++)
		if (s->listeners.all[i].tcp && !s->listeners.all[i].loopback)
			return true;
	return false;
}

static void unlink_connection(struct server *s, struct connection *c)
{
	*(c->prev ? &c->prev->next : &s->first) = c->next;
	*(c->next ? &c->next->prev : &s->last) = c->prev;
	s->n--;
	connection_free(c);
}

static void free_dead(struct server *s)
{
	struct connection *next;

	for (struct connection *c = s->first; c; c = next) {
		next = c->next;
		if (c->phase == PHASE_DEAD)
			unlink_connection(s, c);
	}
}

/* The connection that deserves its place least, or NULL. */
static struct connection *most_idle(struct server *s, bool busy_only, uint64_t now_ns)
{
	struct connection *victim = NULL;
	uint64_t best = 0;

	for (struct connection *c = s->first; c; c = c->next) {
		uint64_t idleness = connection_idleness(c, now_ns);

		if (busy_only && c->phase != PHASE_JOB && c->phase != PHASE_SEND)
			continue;
		if (idleness > best) { /* of equals the oldest */
			best = idleness;
			victim = c;
		}
	}
	return victim;
}

/* Frees a place. */
static bool make_room(struct server *s, uint64_t now_ns)
{
	struct connection *victim;

	while ((victim = most_idle(s, false, now_ns)) != NULL) {
		enum phase was = victim->phase;

		/* its request may have come since the poll: then it is not idle */
		if (was == PHASE_HEAD || was == PHASE_BODY)
			connection_on_ready(victim, POLLIN, now_ns);
		if (victim->phase == was)
			connection_evict(victim);
		if (victim->phase == PHASE_DEAD) {
			unlink_connection(s, victim);
			return true;
		}
	}
	return false;
}

/* Those who do not read must not keep the others from working. */
static void relieve(struct server *s, uint64_t now_ns)
{
	struct connection *victim;

	if (reply_pressure())
		for (struct connection *c = s->first; c; c = c->next)
			connection_relieve(c, now_ns);
	if (!reply_pressure() && !connection_crowd())
		return;
	victim = most_idle(s, true, now_ns);
	if (victim)
		connection_evict(victim);
}

static bool peer_allowed(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return sys_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
	       access_peer(peer.uid, sys_geteuid());
}

/* A client whose machine vanished must not keep a collection running for an hour; and one that does
 * not read must not fill the kernel's memory, whose own limit is 4 MiB each. */
static void set_options(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{SOL_SOCKET, SO_SNDBUF, 256 << 10}, {SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, 15}, /* s */
		{IPPROTO_TCP, TCP_KEEPINTVL, 5}, /* s */
		{IPPROTO_TCP, TCP_KEEPCNT, 3},
	};

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		sys_setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			       sizeof(options[i].value));
}

static void refuse_busy(int fd)
{
	char waste[1024];

	/* Unread bytes would turn the close into a reset that can overtake the answer. */
	sys_recv(fd, waste, sizeof(waste), MSG_DONTWAIT);
	reply_busy(fd);
	sys_shutdown(fd, SHUT_WR);
	sys_close(fd);
	stat_add(STAT_HTTP_BUSY, 1);
}

static void admit(struct server *s, unsigned i, int fd, uint64_t now_ns)
{
	struct listener *l = &s->listeners.all[i];
	struct connection *c = NULL;

	if (!l->tcp && !peer_allowed(fd)) {
		stat_add(STAT_HTTP_PEER, 1);
		sys_close(fd);
		return;
	}
	if (s->n < CONNECTIONS_MAX || make_room(s, now_ns))
		c = connection_new(fd, l->tcp, &s->config, &s->rules[i], now_ns);
	if (!c) {
		refuse_busy(fd);
		return;
	}
	if (l->tcp)
		set_options(fd);
	c->prev = s->last;
	*(s->last ? &s->last->next : &s->first) = c;
	s->last = c;
	s->n++;
	connection_on_ready(c, POLLIN, now_ns); /* the request is mostly here already */
}

/* Errors that only time or a closed descriptor can cure. */
static bool exhausted(long err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOBUFS || err == -ENOMEM;
}

static void accept_clients(struct server *s, unsigned i, uint64_t now_ns)
{
	struct listener *l = &s->listeners.all[i];

	if (!listener_intact(l)) {
		stat_add(STAT_HTTP_STOLEN, 1);
		log_line(LOG_ERROR,
			 "the listening descriptor was closed by the program: not serving");
		l->fd = -1;
		return;
	}
	for (int k = 0; k < ACCEPT_MOST; k++) {
		long fd = sys_accept(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			admit(s, i, (int)fd, now_ns);
			continue;
		}
		if (fd == -EAGAIN)
			return;
		/* a client that left again costs nothing; without a descriptor someone must go */
		if (fd == -ECONNABORTED || fd == -EINTR || (exhausted(fd) && make_room(s, now_ns)))
			continue;
		stat_add(STAT_HTTP_ACCEPT, 1);
		s->accept_again_ns = now_ns + accept_pause_ns;
		return;
	}
}

/* Fills the poll table. Returns the time to be back at. */
static uint64_t prepare(struct server *s, uint64_t now_ns, uint64_t until_ns)
{
	bool paused = s->accept_again_ns > now_ns;

	s->n_polled = 0;
	for (unsigned i = 0; i < s->listeners.n; i++)
		s->polled[s->n_polled++] = (struct pollfd){
			.fd = paused ? -1 : s->listeners.all[i].fd,
			.events = POLLIN,
		};
	if (paused && s->accept_again_ns < until_ns)
		until_ns = s->accept_again_ns;
	for (struct connection *c = s->first; c; c = c->next) {
		uint64_t wake = connection_wake(c);

		c->poll_at = s->n_polled;
		s->n_polled += connection_poll(c, &s->polled[s->n_polled]);
		if (wake < until_ns)
			until_ns = wake;
	}
	return until_ns;
}

static void wait(struct server *s, uint64_t now_ns, uint64_t until_ns)
{
	uint64_t left = until_ns > now_ns ? until_ns - now_ns : 0;
	struct timespec timeout = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};

	long n;

	if (s->config.waiting)
		s->config.waiting(true);
	n = sys_ppoll(s->polled, s->n_polled, &timeout);
	if (s->config.waiting)
		s->config.waiting(false);
	if (n >= 0)
		return;
	/* no memory in the kernel, or forbidden: not again at once */
	if (n != -EINTR)
		sys_sleep_ns(poll_pause_ns);
	for (unsigned i = 0; i < s->n_polled; i++) /* nothing is known: interrupted */
		s->polled[i].revents = 0;
}

static bool fd_ready(const struct server *s, const struct connection *c)
{
	unsigned at = c->poll_at + 1;

	/* poll_at is 0 for a connection that came after this turn's poll; listeners come first */
	return c->poll_at && c->exchange.wake_events && at < s->n_polled &&
	       s->polled[at].fd == c->exchange.wake_fd && s->polled[at].revents;
}

/* Waiting jobs whose time has come go first: a CPU window must end in time. */
static struct connection *next_job(struct server *s, uint64_t now_ns)
{
	struct connection *best = NULL;

	for (struct connection *c = s->first; c; c = c->next) {
		if (!connection_runnable(c, fd_ready(s, c), now_ns))
			continue;
		if (!best || (c->job == JOB_WAIT && best->job != JOB_WAIT) ||
		    (c->job == best->job && c->stepped_ns < best->stepped_ns))
			best = c;
	}
	return best;
}

static void run_jobs(struct server *s, uint64_t now_ns)
{
	uint64_t end_ns = now_ns + jobs_slice_ns;
	struct connection *c;

	while (now_ns < end_ns && (c = next_job(s, now_ns)) != NULL) {
		c->poll_at = 0; /* the event of its wake_fd is used up */
		connection_step(c, now_ns);
		now_ns = sys_clock_ns(CLOCK_MONOTONIC);
	}
}

void server_turn(struct server *s, uint64_t until_ns)
{
	uint64_t now_ns = sys_clock_ns(CLOCK_MONOTONIC);
	struct connection *c, *newest;

	until_ns = prepare(s, now_ns, until_ns);
	wait(s, now_ns, until_ns);
	now_ns = sys_clock_ns(CLOCK_MONOTONIC);
	newest = s->last;
	for (c = s->first; c; c = c == newest ? NULL : c->next) {
		if (s->polled[c->poll_at].revents)
			connection_on_ready(c, s->polled[c->poll_at].revents, now_ns);
		connection_on_time(c, now_ns);
	}
	free_dead(s);
	for (unsigned i = 0; i < s->listeners.n; i++)
		if (s->polled[i].revents)
			accept_clients(s, i, now_ns);
	relieve(s, now_ns);
	run_jobs(s, now_ns);
	free_dead(s);
}

void server_close(struct server *s)
{
	while (s->first)
		unlink_connection(s, s->first);
	listeners_close(&s->listeners);
	mem_free(s);
}
